import os
import subprocess
import sys

import numpy as np
import pytest

from zenso.canonical import CanonicalEncoder, SlotRule, Want, native_kernel, wasm_kernel
from zenso.canonical.kernel.compile import host_variants
from zenso.canonical.native_kernel import SELF_TEST_HASH, SELF_TEST_ROOM, NativeKernel, Twin, best_twin, twin
from zenso.canonical.wasm_kernel import WasmKernel
from zenso.models import load_artifact

TEXTS = [
    "a",
    "The quick brown fox",
    "Two texts in one call share nothing but the weights.",
    "word " * 300,
    "naïve café 你好 שלום 🙂",
]
VARIANTS = [variant for variant, _ in host_variants()]


@pytest.fixture(scope="module")
def artifact():
    return load_artifact("all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def rule(artifact):
    cells = np.random.default_rng(1).integers(-3000, 3000, (19, artifact.hidden), dtype=np.int16)
    return SlotRule(cells, np.random.default_rng(2).integers(1, 90, len(artifact.words), dtype=np.int32))


def loaded(variant):
    found = twin(variant)
    if found is None:
        pytest.skip(f"this processor has not the instructions of {variant}")
    return found


def test_the_pinned_hash_is_the_modules():
    assert wasm_kernel.self_test(SELF_TEST_ROOM) == SELF_TEST_HASH


def test_a_twin_is_built_for_this_machine():
    assert best_twin() is not None


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_passes_the_self_test(variant):
    assert loaded(variant).self_test() == SELF_TEST_HASH


def test_too_little_room_for_the_self_test_gives_zero():
    assert wasm_kernel.self_test(1000) == 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("slots", [Want.DOCUMENT_SLOTS, Want.QUERY_SLOTS])
def test_every_variant_gives_the_modules_bits(variant, slots, artifact, rule):
    want = Want.POOLED | Want.TOKENS | slots

    def results(make):
        encoded = CanonicalEncoder(artifact, threads=1, new_kernel=make).encode(TEXTS, want, slots=rule)
        return encoded.pooled, encoded.slots, np.concatenate(encoded.tokens)

    native = results(lambda a: NativeKernel(a, loaded(variant)))
    for ours, reference in zip(native, results(WasmKernel), strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_a_variant_that_computes_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(native_kernel, "SELF_TEST_HASH", SELF_TEST_HASH + 1)
    native_kernel.twin.cache_clear()
    try:
        assert best_twin() is None
    finally:
        native_kernel.twin.cache_clear()


def test_a_library_that_is_missing_or_foreign_is_not_used(monkeypatch, tmp_path):
    foreign = tmp_path / "foreign.so"
    foreign.write_bytes(b"not a library")
    for path in (foreign, tmp_path / "missing.so"):
        monkeypatch.setattr(native_kernel, "twin_path", lambda _, path=path: path)
        native_kernel.twin.cache_clear()
        try:
            assert best_twin() is None
        finally:
            native_kernel.twin.cache_clear()


def test_the_portable_variant_asks_the_processor():
    assert Twin(VARIANTS[-1]).call("zenso_processor") >= 0
    assert Twin(VARIANTS[-1]).call("zenso_version") == wasm_kernel.kernel_version()


def engine_in_a_new_process(wish):
    code = (
        "from zenso.canonical import CanonicalEncoder, engine_name\n"
        "from zenso.models import load_artifact\n"
        "vector = CanonicalEncoder(load_artifact('all-MiniLM-L6-v2')).encode(['The quick brown fox']).pooled\n"
        "print(engine_name(), vector.tobytes().hex()[:64])\n"
    )
    environment = {**os.environ, "ZENSO_ENGINE": wish}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_the_environment_chooses_and_every_choice_gives_the_same():
    wishes = ["wasm", "native", *(f"native:{variant}" for variant in VARIANTS if twin(variant)), ""]
    results = [engine_in_a_new_process(wish) for wish in wishes]
    names, vectors = zip(*(done.stdout.split() for done in results), strict=True)
    assert names[0] == "wasm"
    assert names[1] == names[-1] == f"native:{best_twin().variant}"
    assert set(vectors) == {vectors[0]}


@pytest.mark.parametrize("wish", ["gpu", "wasm:fast", "native:abacus"])
def test_a_wish_that_cannot_be_granted_is_said(wish):
    done = engine_in_a_new_process(wish)
    assert done.returncode != 0
    assert f"ZENSO_ENGINE is {wish!r}" in done.stderr
