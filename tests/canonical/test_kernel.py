"""The compiled module: reproducible, closed, and without a floating-point instruction."""

import os
import subprocess
import sys

import pytest
import wasmtime

from bench.opcodes import count_opcodes, float_opcodes, relaxed_opcodes, wabt_tool
from zenso.canonical.kernel.compile import EXPORTS, MODULE, SOURCE, compile_kernel
from zenso.canonical.wasm_kernel import kernel_bytes

FLOAT_MODULE = """
(module
  (func (param f32) (result i32) local.get 0 i32.trunc_f32_s)
  (func (param i32) (result f64) local.get 0 f64.convert_i32_u)
  (func (param v128 v128) (result v128) local.get 0 local.get 1 f32x4.add)
  (func (param i32) (result v128) local.get 0 v128.load offset=64)
  (memory 1))
"""


@pytest.fixture(scope="module")
def opcodes():
    return count_opcodes(MODULE)


def test_compiled_twice_gives_the_bytes_that_are_installed(tmp_path):
    first = compile_kernel(tmp_path / "first.wasm").read_bytes()
    # Once more in another process, another folder, and without anything that the compiler kept.
    elsewhere = tmp_path / "another folder"
    elsewhere.mkdir()
    code = (
        "import sys, pathlib; from zenso.canonical.kernel.compile import *; compile_kernel(pathlib.Path(sys.argv[1]))"
    )
    caches = {f"ZIG_{kind}_CACHE_DIR": str(elsewhere / kind) for kind in ("GLOBAL", "LOCAL")}
    second = elsewhere / "second.wasm"
    subprocess.run([sys.executable, "-c", code, second], check=True, cwd=elsewhere, env={**os.environ, **caches})
    assert first == second.read_bytes() == kernel_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["another folder", "first.wasm"]


def test_no_path_of_the_machine_is_in_the_module():
    assert str(SOURCE.parent).encode() not in kernel_bytes()
    assert b"/tmp" not in kernel_bytes()


def test_a_source_that_does_not_compile_leaves_the_old_module(tmp_path, monkeypatch):
    broken = tmp_path / "kernel.c"
    broken.write_text("int zenso_version(void) { return missing; }")
    output = tmp_path / "kernel.wasm"
    output.write_bytes(b"before")
    monkeypatch.setattr("zenso.canonical.kernel.compile.SOURCE", broken)
    with pytest.raises(RuntimeError, match=r"the kernel did not compile (?s:.*)missing"):
        compile_kernel(output)
    assert output.read_bytes() == b"before"


def test_no_instruction_knows_floating_point(opcodes):
    assert sum(opcodes.values()) > 5_000
    assert float_opcodes(opcodes) == 0


def test_no_instruction_may_differ_between_processors(opcodes):
    assert relaxed_opcodes(opcodes) == 0


def test_matrix_products_use_the_16_bit_dot_product(opcodes):
    assert opcodes["i32x4.dot_i16x8_s"] >= 12


def test_no_function_takes_or_gives_floating_point():
    details = subprocess.run(
        [wabt_tool("wasm-objdump"), "-x", "-j", "Type", MODULE], check=True, capture_output=True, text=True
    )
    assert "i32" in details.stdout
    assert "f32" not in details.stdout
    assert "f64" not in details.stdout


def test_the_count_finds_floating_point_where_there_is_some(tmp_path):
    source, module = tmp_path / "float.wat", tmp_path / "float.wasm"
    source.write_text(FLOAT_MODULE)
    subprocess.run([wabt_tool("wat2wasm"), source, "-o", module], check=True)
    counts = count_opcodes(module)
    assert counts == {
        "local.get": 5,
        "i32.trunc_f32_s": 1,
        "f64.convert_i32_u": 1,
        "f32x4.add": 1,
        "v128.load": 1,
        "end": 4,
    }
    assert float_opcodes(counts) == 3


def test_module_asks_for_nothing_and_offers_what_is_documented():
    module = wasmtime.Module(wasmtime.Engine(), kernel_bytes())
    assert list(module.imports) == []
    assert sorted(export.name for export in module.exports) == sorted([*EXPORTS, "memory"])
