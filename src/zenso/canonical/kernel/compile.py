"""Compile the canonical kernel with the Zig toolchain that PyPI carries: to WebAssembly, and for this machine.

Used by the build hook (before the package can be imported) and by the tests: standard library only.
"""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "kernel.c"
MODULE = FOLDER / "kernel.wasm"
EXPORTS = (
    "zenso_version",
    "zenso_processor",
    "zenso_workspace",
    "zenso_encode",
    "zenso_soft_f64",
    "zenso_normalise_f32",
    "zenso_quantise_f32",
    "zenso_self_test",
    "__heap_base",
)

COMMON_FLAGS = (
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
)
MODULE_FLAGS = (
    "-target",
    "wasm32-freestanding",
    "-mcpu=generic+simd128+bulk_memory",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=65536",
    *(f"-Wl,--export={name}" for name in EXPORTS),
)
NATIVE_FLAGS = ("-shared", "-fPIC", "-fvisibility=hidden", "-s")

# Machine -> variants of the native twin, best first: name and the compiler's name of the processor.
VARIANTS = {
    "x86_64": (("avx512vnni", "x86_64_v4+avx512vnni"), ("avx2", "x86_64_v3"), ("portable", "x86_64")),
    "aarch64": (("neon", "generic"),),
}
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
SYSTEMS = {"linux": "linux-gnu.2.17", "darwin": "macos"}


def twin_path(variant: str) -> Path:
    """Where a variant of the native twin lies."""
    return FOLDER / f"twin-{variant}.so"


def host_variants() -> tuple[tuple[str, str], ...]:
    """Variants that can be built for this machine; empty where the twin is not supported."""
    machine = MACHINES.get(platform.machine().lower())
    return VARIANTS[machine] if machine and sys.platform in SYSTEMS else ()


def _compile(flags: tuple[str, ...], output: Path) -> Path:
    """Compile in a folder of its own and replace ``output`` in one step."""
    with tempfile.TemporaryDirectory(prefix="zenso-kernel-") as scratch:
        source = Path(scratch) / "kernel.c"
        source.write_bytes(SOURCE.read_bytes())  # a fixed relative name: no path of this machine gets into the result
        command = [sys.executable, "-m", "ziglang", "cc", *COMMON_FLAGS, *flags, "-o", "kernel.out", source.name]
        done = subprocess.run(command, cwd=scratch, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            message = f"the kernel did not compile ({' '.join(flags[:3])}):\n{done.stderr}"
            raise RuntimeError(message)
        staged = output.with_suffix(".partial")
        staged.write_bytes((Path(scratch) / "kernel.out").read_bytes())
    os.replace(staged, output)  # noqa: PTH105  # Path.replace is the same call
    return output


def compile_kernel(output: Path = MODULE) -> Path:
    """Build the WebAssembly module; the same source gives the same bytes anywhere."""
    return _compile(MODULE_FLAGS, output)


def compile_twins() -> list[Path]:
    """Build the native twin for this machine, all variants."""
    machine = MACHINES.get(platform.machine().lower(), "")
    target = ("-target", f"{machine}-{SYSTEMS.get(sys.platform, '')}")
    return [
        _compile((*target, f"-mcpu={processor}", *NATIVE_FLAGS), twin_path(variant))
        for variant, processor in host_variants()
    ]


if __name__ == "__main__":
    for built in (compile_kernel(), *compile_twins()):
        sys.stdout.write(f"{built}\n")
