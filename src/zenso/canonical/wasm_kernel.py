"""The reference build of the kernel: WebAssembly, run by wasmtime."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import wasmtime
from blake3 import blake3
from numpy.typing import NDArray

from zenso.canonical.artifact import Artifact
from zenso.canonical.kernel_call import (
    MAX_CELLS,
    MAX_ROWS,
    REQUEST_WORDS,
    KernelInput,
    KernelOutput,
    Want,
    aligned,
    check_status,
    check_workspace,
    collect,
    output_sizes,
    request,
)
from zenso.errors import IntegrityError, ModelError

E = TypeVar("E")

MODULE_PATH = Path(__file__).parent / "kernel" / "kernel.wasm"
_PAGE = 65536
MAX_MEMORY = 3 << 30  # bytes that one instance may take: the largest model known, with its workspace, needs 1.2 GB


@cache
def kernel_bytes() -> bytes:
    """Return the compiled module.

    Raises
    ------
    IntegrityError
        The package was installed without it.
    """
    try:
        return MODULE_PATH.read_bytes()
    except OSError as error:
        message = f"the compiled kernel {MODULE_PATH} cannot be read ({error.strerror}); reinstall zenso"
        raise IntegrityError(message) from error


@cache
def kernel_digest() -> bytes:
    """BLAKE3 digest of the WebAssembly module, 32 bytes: the kernel's identity, whichever build runs."""
    return blake3(kernel_bytes()).digest()


@cache
def _compiled(target: str | None = None) -> tuple[wasmtime.Engine, wasmtime.Module]:
    config = wasmtime.Config()
    if target is not None:
        config.target = target
    config.wasm_simd = True
    config.wasm_relaxed_simd = False  # its results may differ between processors
    config.cranelift_opt_level = "speed"
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module(engine, kernel_bytes())


class Instance:
    """An instance of the module and its memory, which ends in free room from ``heap`` on.

    Parameters
    ----------
    target : str, optional
        What wasmtime compiles to: this processor by default, or ``pulley64``, the bytecode of its interpreter.
    """

    def __init__(self, target: str | None = None) -> None:
        engine, module = _compiled(target)
        self.store = wasmtime.Store(engine)
        self.store.set_limits(memory_size=MAX_MEMORY, instances=1, memories=1)
        self._exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory = self.export("memory", wasmtime.Memory)
        self.heap = aligned(int(self.export("__heap_base", wasmtime.Global).value(self.store)))

    def export(self, name: str, kind: type[E]) -> E:
        """Return an export of the module."""
        found = self._exports[name]
        if not isinstance(found, kind):
            message = f"the kernel {MODULE_PATH} exports no {kind.__name__} {name!r}; reinstall zenso"
            raise IntegrityError(message)
        return found

    def call(self, name: str, *arguments: int) -> int:
        """Call an entry point; one without a result gives 0."""
        return int(self.export(name, wasmtime.Func)(self.store, *arguments) or 0)

    def reserve(self, end: int) -> None:
        """Grow the memory to at least ``end`` bytes.

        Raises
        ------
        ModelError
            That is more than an instance may have, or than the system gives.
        """
        missing = end - self.memory.data_len(self.store)
        if missing <= 0:
            return
        try:
            self.memory.grow(self.store, -(-missing // _PAGE))
        except wasmtime.WasmtimeError as error:
            message = (
                f"the kernel cannot have {end / 1e9:.2f} GB of memory ({error}); it may take {MAX_MEMORY / 1e9:.2f} GB"
            )
            raise ModelError(message) from error

    def address(self, offset: int) -> int:
        """Where an offset of the memory lies in this process; growing moves it."""
        pointer = ctypes.cast(self.memory.data_ptr(self.store), ctypes.c_void_p)
        return (pointer.value or 0) + offset

    def write(self, offset: int, array: NDArray[Any]) -> None:
        """Copy an array into the memory."""
        data = np.ascontiguousarray(array)
        ctypes.memmove(self.address(offset), data.ctypes.data, data.nbytes)

    def read(self, offset: int, out: NDArray[Any]) -> None:
        """Fill an array from the memory."""
        ctypes.memmove(out.ctypes.data, self.address(offset), out.nbytes)


@cache
def kernel_version() -> int:
    """Version of every result: a kernel that changes any output bit has a higher one."""
    return Instance().call("zenso_version")


def self_test(room: int, target: str | None = None) -> int:
    """Run the kernel's self-test in ``room`` bytes and return its hash; ``target`` as for ``Instance``."""
    instance = Instance(target)
    instance.reserve(instance.heap + room)
    return instance.call("zenso_self_test", instance.heap, room)


class WasmKernel:
    """One instance of the module, with a copy of the model in its memory. See ``Kernel``, ``Instance``."""

    def __init__(self, artifact: Artifact, target: str | None = None) -> None:
        self._instance = Instance(target)
        self._encode = self._instance.export("zenso_encode", wasmtime.Func)
        self._model = self._instance.heap
        self._workspace = aligned(self._model + len(artifact.kernel))
        self._instance.reserve(self._workspace)
        self._instance.write(self._model, artifact.kernel)
        size = self._instance.call(
            "zenso_workspace", self._model, len(artifact.kernel), artifact.hidden, MAX_ROWS, MAX_CELLS
        )
        check_workspace(size, artifact.path)
        self._room = aligned(size)
        self._buffers = self._workspace + self._room

    def run(self, call: KernelInput, want: Want) -> KernelOutput:
        """Encode the texts of a call. See ``Kernel``."""
        inputs = {name: getattr(call, name) for name in ("lengths", "words", "shifts", "weights", "cells")}
        at: dict[str, int] = {}
        end = self._buffers + aligned(REQUEST_WORDS * 8)
        for name, size in ({name: array.nbytes for name, array in inputs.items()} | output_sizes(call)).items():
            at[name] = end
            end = aligned(end + size)
        self._instance.reserve(end)
        self._instance.write(self._buffers, request(self._model, (self._workspace, self._room), at, call, want))
        for name, array in inputs.items():
            self._instance.write(at[name], array)
        check_status(int(self._encode(self._instance.store, self._buffers)), call)

        def read(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
            out = np.empty(shape, dtype=dtype)
            self._instance.read(at[name], out)
            return out

        return collect(call, want, read)
