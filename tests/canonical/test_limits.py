"""A model or a call from a hostile source is refused, or runs inside its memory and to its end."""

import dataclasses

import numpy as np
import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenso.canonical import CanonicalEncoder, Want, native_kernel, wasm_kernel
from zenso.canonical.artifact import open_artifact, write_artifact
from zenso.canonical.kernel_call import MAX_CELLS, MAX_ROWS, KernelInput
from zenso.canonical.native_kernel import NativeKernel, best_twin
from zenso.canonical.wasm_kernel import WasmKernel
from zenso.errors import IntegrityError, ModelError

HEADER = (  # struct Model
    *("magic", "version", "size", "hidden", "layers", "heads", "head_width", "intermediate", "positions"),
    *(
        "position_table",
        "embedding_gain",
        "embedding_bias",
        "embedding_epsilon",
        "epsilon",
        "gelu_table",
        "gelu_entries",
    ),
    *("layer_table", "pooling", "relative_bias"),
)
LAYER_WORDS = 4 * 6 + 2 * 2
EDGES = (-(2**31), -1, 0, 1, 2, 15, 17, 64, 1 << 20, 2**31 - 4)


def bent(artifact, at, value):
    """Return the artifact with one 32-bit word of its model replaced."""
    image = artifact.kernel.copy()
    image[4 * at : 4 * at + 4] = np.array([value], "<i4").view(np.uint8)
    return dataclasses.replace(artifact, kernel=image)


def word(artifact, at):
    return int(artifact.kernel[4 * at : 4 * at + 4].view("<i4")[0])


def layer_table(artifact):
    return word(artifact, HEADER.index("layer_table")) // 4


def call(artifact, lengths, *, shifts=0, cells=0):
    rows = sum(max(0, length) for length in lengths)
    return KernelInput(
        words=np.full((rows, artifact.hidden), 32767, np.int16),
        shifts=np.full(rows, shifts, np.int32),
        lengths=np.array(lengths, np.int32),
        weights=np.full(rows, 255, np.int32),
        cells=np.full((cells, artifact.hidden), -32768, np.int16),
    )


def native(artifact):
    return NativeKernel(artifact, best_twin())


kernels = pytest.mark.parametrize("kernel", [WasmKernel, native], ids=["wasm", "native"])


@kernels
@pytest.mark.parametrize("name", [name for name in HEADER if name not in ("embedding_epsilon", "epsilon", "pooling")])
@pytest.mark.parametrize("value", [-1, 2**31 - 4])
def test_a_header_that_points_or_counts_too_far_is_refused(kernel, name, value, small_artifact):
    with pytest.raises(ModelError, match="holds a model that this kernel does not run"):
        kernel(bent(small_artifact, HEADER.index(name), value))


@kernels
@pytest.mark.parametrize("at", range(LAYER_WORDS))
@pytest.mark.parametrize("value", [-4, 2**31 - 4])
def test_a_layer_that_points_too_far_is_refused(kernel, at, value, small_artifact):
    with pytest.raises(ModelError, match="holds a model that this kernel does not run"):
        kernel(bent(small_artifact, layer_table(small_artifact) + LAYER_WORDS + at, value))


@kernels
@pytest.mark.parametrize("shift", [20, 63, -1])
def test_a_rescaling_that_would_shift_too_far_is_refused(kernel, shift, small_artifact):
    table = word(small_artifact, layer_table(small_artifact) + 4) // 4
    with pytest.raises(ModelError, match="holds a model that this kernel does not run"):
        kernel(bent(small_artifact, table, shift))


@kernels
def test_an_image_that_is_cut_is_refused(kernel, small_artifact):
    for size in (0, 4, 75, 76, len(small_artifact.kernel) - 1):
        with pytest.raises(ModelError, match="holds a model that this kernel does not run"):
            kernel(dataclasses.replace(small_artifact, kernel=small_artifact.kernel[:size].copy()))


@kernels
@pytest.mark.parametrize(
    "options",
    [
        {"lengths": [0]},
        {"lengths": [-1, 2]},
        {"lengths": [41]},
        {"lengths": [32] * (MAX_ROWS // 32) + [1], "cells": MAX_CELLS},
        {"lengths": [3], "shifts": 16},
        {"lengths": [3], "shifts": -1},
        {"lengths": [32] * (MAX_ROWS // 32), "cells": MAX_CELLS + 1},
    ],
)
def test_a_call_beyond_the_limits_is_refused(kernel, options, small_artifact):
    ready = kernel(small_artifact)
    with pytest.raises(ModelError, match="the kernel refused a batch"):
        ready.run(call(small_artifact, **options), Want.POOLED)


@kernels
@given(
    at=st.integers(0, 20_000),
    value=st.sampled_from(EDGES),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_word_of_a_model_may_be_any_number(kernel, at, value, lengths, small_artifact):
    at %= len(small_artifact.kernel) // 4
    try:
        ready = kernel(bent(small_artifact, at, value))
    except ModelError:
        return
    out = ready.run(call(small_artifact, lengths, shifts=15, cells=3), Want.POOLED | Want.TOKENS | Want.QUERY_SLOTS)
    assert out.pooled.shape == (len(lengths), small_artifact.hidden)


def test_both_builds_agree_on_what_they_refuse(small_artifact):
    start = layer_table(small_artifact)
    for at in [*range(len(HEADER)), *range(start, start + LAYER_WORDS)]:
        for value in EDGES:
            image = bent(small_artifact, at, value)
            outcomes = []
            for kernel in (WasmKernel, native):
                try:
                    ready = kernel(image).run(call(small_artifact, [5, 40]), Want.POOLED)
                    outcomes.append(ready.pooled.tobytes())
                except ModelError:
                    outcomes.append(None)
            assert outcomes[0] == outcomes[1], (at, value)


def test_the_work_of_a_call_is_bounded_by_its_size(small_artifact, monkeypatch):
    """Fuel counts instructions; whatever numbers a model holds, a call takes as much as any other of its size."""
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    module = wasmtime.Module(engine, wasm_kernel.kernel_bytes())
    monkeypatch.setattr(wasm_kernel, "_compiled", lambda target: (engine, module))
    plenty = 10**12

    class Metered(wasmtime.Store):
        def __init__(self, engine):
            super().__init__(engine)
            self.set_fuel(plenty)

    monkeypatch.setattr(wasm_kernel.wasmtime, "Store", Metered)
    hidden, wide, layers = small_artifact.hidden, 128, 2
    lengths = [40] * 12
    rows = sum(lengths)
    products = layers * rows * (4 * hidden**2 + 2 * hidden * wide + 2 * 40 * hidden)
    for image in (small_artifact, *(bent(small_artifact, at, 2**31 - 1) for at in range(5000, 5003))):
        kernel = WasmKernel(image)
        store = kernel._instance.store
        before = store.get_fuel()
        kernel.run(call(small_artifact, lengths, shifts=15), Want.POOLED)
        assert before - store.get_fuel() < 8 * products


def test_memory_of_the_module_is_bounded(small_artifact):
    instance = wasm_kernel.Instance()
    with pytest.raises(ModelError, match=r"cannot have 3\.2. GB of memory .* it may take 3\.22 GB"):
        instance.reserve(wasm_kernel.MAX_MEMORY + 65536)
    instance.reserve(1 << 20)
    assert instance.memory.data_len(instance.store) < 1 << 21


@pytest.mark.parametrize("engine", ["wasm", "native"])
@pytest.mark.parametrize(("name", "value"), [("hidden", 32), ("hidden", 128), ("vocabulary", 19), ("max_tokens", 512)])
def test_a_header_that_differs_from_the_model_never_reaches_the_kernel(
    engine, name, value, small_artifact, tmp_path, monkeypatch
):
    if engine == "native" and native_kernel.best_twin() is None:
        pytest.skip("no native kernel works here")
    monkeypatch.setenv("ZENSO_ENGINE", engine)
    sections = {
        "kernel": small_artifact.kernel.tobytes(),
        "words": small_artifact.words.tobytes(),
        "shifts": small_artifact.shifts.tobytes(),
        "tokenizer": small_artifact.tokenizer,
    }
    config = dict(small_artifact.config)
    if name == "hidden":  # the tables' shape can be kept, so that only the kernel sees the difference
        total = small_artifact.words.size
        config["vocabulary"] = total // value
        sections["shifts"] = bytes(total // value)
    config[name] = value
    write_artifact(tmp_path / "bent", config, sections)
    with pytest.raises((ModelError, IntegrityError)):
        CanonicalEncoder(open_artifact(tmp_path / "bent"), threads=1).encode(["a b c d e f g h " * 10])
