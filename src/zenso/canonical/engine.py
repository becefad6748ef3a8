"""Choose what runs the kernel: the native twin where it proves itself, the WebAssembly module everywhere else."""

import os
from functools import cache
from pathlib import Path

from blake3 import blake3

from zenso.canonical.artifact import Artifact
from zenso.canonical.kernel.compile import twin_path
from zenso.canonical.kernel_call import Kernel
from zenso.canonical.native_kernel import NativeKernel, Twin, best_twin, twin
from zenso.canonical.wasm_kernel import WasmKernel, kernel_digest
from zenso.errors import InputError, ModelError

VARIABLE = "ZENSO_ENGINE"


@cache
def _chosen(wish: str) -> Twin | None:
    """Return the twin to use, None for WebAssembly."""
    kind, _, variant = wish.partition(":")
    if kind not in {"", "wasm", "native"} or (variant and kind != "native"):
        message = f"{VARIABLE} is {wish!r}; it may be wasm, native, or native:VARIANT such as native:avx2"
        raise InputError(message)
    if kind == "wasm":
        return None
    found = twin(variant) if variant else best_twin()
    if kind == "native" and found is None:
        message = f"{VARIABLE} is {wish!r}, but no such native kernel works here; unset it to run WebAssembly"
        raise ModelError(message)
    return found


def engine_name() -> str:
    """Name what runs the kernel in this process: ``wasm`` or ``native:VARIANT``.

    Raises
    ------
    InputError
        The environment variable ZENSO_ENGINE is not one of the choices.
    ModelError
        It asks for a native kernel and none works here.
    """
    found = _chosen(os.environ.get(VARIABLE, ""))
    return f"native:{found.variant}" if found else "wasm"


def engine_digest() -> bytes:
    """BLAKE3 of the build that runs the kernel here, 32 bytes; errors as ``engine_name``."""
    found = _chosen(os.environ.get(VARIABLE, ""))
    return kernel_digest() if found is None else _file_digest(twin_path(found.variant))


@cache
def _file_digest(path: Path) -> bytes:
    return blake3(path.read_bytes()).digest()


def new_kernel(artifact: Artifact) -> Kernel:
    """Return a kernel with a memory of its own, for one thread at a time.

    Raises
    ------
    InputError, ModelError
        As ``engine_name``; or the artifact holds a model that the kernel does not run.
    """
    found = _chosen(os.environ.get(VARIABLE, ""))
    return NativeKernel(artifact, found) if found else WasmKernel(artifact)
