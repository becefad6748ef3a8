"""``python -m bench engines``: every engine and processor gives the same bits."""

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engine_pairs import V8, Case
from zenso.canonical import kernel_digest
from zenso.canonical.kernel.compile import host_variants
from zenso.canonical.native_kernel import twin
from zenso.errors import ModelError
from zenso.models import load_artifact

ROOT = Path(__file__).parents[2]
TEXTS, FIRST = 3, 1
MACHINE = platform.machine()
EMULATED = {
    "aarch64": "twin_neon_aarch64_qemu",
    "riscv64": "twin_portable_riscv64_qemu",
    "s390x": "twin_portable_s390x_qemu",
}
WASMTIME = {f"wasmtime_cranelift_{MACHINE}", f"wasmtime_pulley_{MACHINE}"}


def documented(section):
    """Keys of the tables under a heading of bench/README.md."""
    text = (ROOT / "bench" / "README.md").read_text("utf-8")
    body = re.split(r"^## ", text.partition(f"\n## {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`[^|]*) \|", body, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([a-z0-9_]+)`", row)}


def bench(*arguments):
    command = [sys.executable, "-m", "bench", "engines", *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    table = folder / "docs" / "engines.md"
    process = bench("--texts", TEXTS, "--first", FIRST, "--json", folder / "engines.json", "--write", table)
    assert process.returncode == 0, process.stderr
    return process, json.loads((folder / "engines.json").read_text("utf-8")), table.read_text("utf-8")


@pytest.fixture(scope="module")
def results(done):
    return done[1]


def has_qemu(machine):
    return bool(shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static"))


@pytest.mark.skipif(MACHINE != "x86_64", reason="the table names the pairs of x86_64")
def test_keys_are_exactly_those_documented(results):
    assert set(results) == documented("`engines`") | documented("Keys of every measurement")


def test_every_digest_is_the_same(results):
    first = {key: value for key, value in results.items() if key.endswith("_first") and value}
    whole = {key: results[key.removesuffix("_first")] for key in first if results[key.removesuffix("_first")]}
    assert len(set(first.values())) == len(set(whole.values())) == 1
    assert (len(first), len(whole)) == (results["pairs"], results["pairs_all_texts"])
    assert results["equal"] is True
    assert first.keys() - whole.keys() == {f"wasmtime_pulley_{MACHINE}_first"}


def test_what_can_run_here_did(results):
    expected = WASMTIME | {f"twin_{variant}_{MACHINE}" for variant, _ in host_variants() if twin(variant)}
    expected |= {f"v8_{MACHINE}"} if shutil.which("node") else set()
    assert all(results[f"{name}_first"] for name in expected)


@pytest.mark.parametrize("machine", EMULATED)
def test_an_emulated_processor_gives_the_bits_too(results, machine):
    if not has_qemu(machine):
        pytest.skip(f"qemu-{machine} is not installed (Debian: apt-get install qemu-user)")
    assert results[EMULATED[machine]] == results[f"wasmtime_cranelift_{MACHINE}"]


def test_what_is_missing_is_null_and_named(done, results):
    for machine, name in EMULATED.items():
        present = has_qemu(machine)
        assert (results[name] is not None) == (results[f"{name}_seconds"] is not None) == present
        assert (f"{name} is left out: " in done[0].stderr) != present


def test_the_page_shows_each_pair_and_the_digest(done, results):
    rows = [line for line in done[2].splitlines() if line.startswith(("| native", "| WebAssembly"))]
    assert len(rows) == sum(key.endswith("_seconds") for key in results)
    assert sum(f"`{results[f'wasmtime_cranelift_{MACHINE}']}`" in row for row in rows) == results["pairs_all_texts"]
    assert results["kernel_digest"] == kernel_digest().hex()
    assert platform.python_version() in done[2]
    assert str(ROOT) not in done[2]


def test_a_program_that_ends_early_is_an_error(tmp_path):
    if V8().missing():
        pytest.skip(V8().missing())
    (tmp_path / "calls.bin").write_bytes(b"\0" * 16)
    with pytest.raises(ModelError, match=r"v8_.* ended with status 1"):
        V8().digests(Case(load_artifact("all-MiniLM-L6-v2"), [], 0), tmp_path, lambda: None)


@pytest.mark.parametrize("arguments", [["--texts=1"], ["--texts=0"], ["--first=0", "--texts=2"]])
def test_a_number_that_cannot_be_is_a_one_line_error(tmp_path, arguments):
    process = bench(*arguments, "--json", tmp_path / "out.json")
    assert process.returncode == 1
    assert process.stderr.strip().splitlines()[-1].startswith(f"bench engines: {arguments[0].replace('=', ' is ')}; ")
    assert list(tmp_path.iterdir()) == []
