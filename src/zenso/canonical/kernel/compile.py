"""Compile the canonical kernel to WebAssembly with the Zig toolchain that PyPI carries.

Used by the build hook (before the package can be imported) and by the tests: standard library only.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.c")
OUTPUT = Path(__file__).with_name("kernel.wasm")
EXPORTS = ("zenso_version", "zenso_workspace", "zenso_encode", "__heap_base")

FLAGS = (
    "-target",
    "wasm32-freestanding",
    "-mcpu=generic+simd128+bulk_memory",
    "-std=c17",
    "-O3",
    "-fwrapv",  # malformed models may overflow: then arithmetic wraps and stays defined
    "-fno-strict-aliasing",
    "-ffreestanding",
    "-nostdlib",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-psabi",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=65536",
    *(f"-Wl,--export={name}" for name in EXPORTS),
)


def compile_kernel(output: Path = OUTPUT) -> Path:
    """Write the module to ``output``, replacing it in one step; the same source gives the same bytes anywhere."""
    with tempfile.TemporaryDirectory(prefix="zenso-kernel-") as scratch:
        source = Path(scratch) / "kernel.c"
        source.write_bytes(SOURCE.read_bytes())  # a fixed relative name: no path of this machine gets into the module
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", "kernel.wasm", source.name]
        done = subprocess.run(command, cwd=scratch, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            message = f"the kernel did not compile:\n{done.stderr}"
            raise RuntimeError(message)
        staged = output.with_suffix(".partial")
        staged.write_bytes((Path(scratch) / "kernel.wasm").read_bytes())
    os.replace(staged, output)  # noqa: PTH105  # Path.replace is the same call
    return output


if __name__ == "__main__":
    sys.stdout.write(f"{compile_kernel()}\n")
