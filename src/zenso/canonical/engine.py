"""Run the kernel: one WebAssembly instance per thread, sharing nothing but compiled code and the mapped artifact."""

import ctypes
from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import wasmtime
from blake3 import blake3
from numpy.typing import NDArray

from zenso.canonical.artifact import Artifact
from zenso.errors import IntegrityError, ModelError

KERNEL_PATH = Path(__file__).parent / "kernel" / "kernel.wasm"
MAX_ROWS = 512  # tokens in one call
T = TypeVar("T", bound=np.generic)
E = TypeVar("E")

_PAGE = 65536
_ALIGNMENT = 64
_REQUEST_WORDS = 14
_MAX_CELLS = 64


class Want(IntFlag):
    """What a call computes besides the token states."""

    POOLED = 1
    TOKENS = 2
    DOCUMENT_SLOTS = 4
    QUERY_SLOTS = 8


@dataclass(frozen=True)
class KernelOutput:
    """What one call produced; arrays that were not asked for are empty."""

    pooled: NDArray[np.int16]  # (texts, hidden), scale 32767, correctly rounded
    tokens: NDArray[np.int16]  # (rows, hidden), scale 32767
    slots: NDArray[np.int32]  # (texts, cells, hidden); directions (scale 32767) for documents, sums for queries


@cache
def kernel_bytes() -> bytes:
    """Return the compiled kernel.

    Raises
    ------
    IntegrityError
        The package was installed without it.
    """
    try:
        return KERNEL_PATH.read_bytes()
    except OSError as error:
        message = f"the compiled kernel {KERNEL_PATH} cannot be read ({error.strerror}); reinstall zenso"
        raise IntegrityError(message) from error


@cache
def kernel_digest() -> bytes:
    """BLAKE3 digest of the WebAssembly module, 32 bytes."""
    return blake3(kernel_bytes()).digest()


@cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module]:
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = False  # its results may differ between processors
    config.cranelift_opt_level = "speed"
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module(engine, kernel_bytes())


@cache
def kernel_version() -> int:
    """Version of every result: a kernel that changes any output bit has a higher one."""
    engine, module = _compiled()
    store = wasmtime.Store(engine)
    version = _export(wasmtime.Instance(store, module, []), store, "zenso_version", wasmtime.Func)
    return int(version(store))


def _export(instance: wasmtime.Instance, store: wasmtime.Store, name: str, kind: type[E]) -> E:
    found = instance.exports(store)[name]
    if not isinstance(found, kind):
        message = f"the kernel {KERNEL_PATH} exports no {kind.__name__} {name!r}; reinstall zenso"
        raise IntegrityError(message)
    return found


def _aligned(value: int) -> int:
    return -(-value // _ALIGNMENT) * _ALIGNMENT


class KernelInstance:
    """One kernel with its own memory: not for use by two threads at a time.

    The GIL is released while the kernel runs.
    """

    def __init__(self, artifact: Artifact) -> None:
        engine, module = _compiled()
        self._store = wasmtime.Store(engine)
        instance = wasmtime.Instance(self._store, module, [])
        self._memory = _export(instance, self._store, "memory", wasmtime.Memory)
        self._encode = _export(instance, self._store, "zenso_encode", wasmtime.Func)
        workspace = _export(instance, self._store, "zenso_workspace", wasmtime.Func)
        heap = _export(instance, self._store, "__heap_base", wasmtime.Global)
        self._hidden = artifact.hidden
        self._model = _aligned(int(heap.value(self._store)))
        self._reserve(self._model + len(artifact.kernel))
        self._write(self._model, artifact.kernel)
        size = int(workspace(self._store, self._model, MAX_ROWS, _MAX_CELLS))
        if size < 0:
            message = f"{artifact.path} holds a model that this kernel does not run; delete it and it is built again"
            raise ModelError(message)
        self._workspace = _aligned(self._model + len(artifact.kernel))
        self._buffers = self._workspace + _aligned(size)

    def run(
        self,
        words: NDArray[np.int16],
        shifts: NDArray[np.int32],
        lengths: NDArray[np.int32],
        want: Want,
        cells: NDArray[np.int16] | None = None,
        weights: NDArray[np.int32] | None = None,
    ) -> KernelOutput:
        """Encode texts that are laid one after the other, without padding.

        Parameters
        ----------
        words : int16, shape (rows, hidden)
            Word-embedding rows of all tokens; at most ``MAX_ROWS``.
        shifts : int32, shape (rows,)
        lengths : int32, shape (texts,)
            Tokens of each text; they sum to ``rows``.
        cells : int16, shape (cells, hidden), optional
            Unit directions (scale 32767); needed for slots.
        weights : int32, shape (rows,), optional
            Of each token in a query's slots, 1 by default. Per text they sum to less than 2^16.
        """
        cells = np.empty((0, self._hidden), np.int16) if cells is None else cells
        weights = np.ones(len(words), np.int32) if weights is None else weights
        rows, texts, hidden, count = len(words), len(lengths), self._hidden, len(cells)
        at = self._lay_out(
            request=_REQUEST_WORDS * 4,
            lengths=lengths.nbytes,
            words=words.nbytes,
            shifts=shifts.nbytes,
            weights=weights.nbytes,
            cells=cells.nbytes,
            pooled=texts * hidden * 2,
            tokens=rows * hidden * 2,
            slots=texts * count * hidden * 4,
        )
        request = [self._model, self._workspace, texts, rows, at["lengths"], at["words"], at["shifts"]]
        request += [at["weights"], int(want), at["pooled"], at["tokens"], at["cells"], count, at["slots"]]
        self._write(at["request"], np.array(request, dtype=np.int32))
        self._write(at["lengths"], lengths)
        self._write(at["words"], words)
        self._write(at["shifts"], shifts)
        self._write(at["weights"], weights)
        self._write(at["cells"], cells)
        status = self._encode(self._store, at["request"])
        if status:
            message = f"the kernel refused a batch of {texts} texts and {rows} tokens (status {status})"
            raise ModelError(message)
        slots: NDArray[np.int32] = np.empty((0, count, hidden), np.int32)
        if want & Want.QUERY_SLOTS:
            slots = self._read(at["slots"], np.dtype(np.int32), (texts, count, hidden))
        elif want & Want.DOCUMENT_SLOTS:
            slots = self._read(at["slots"], np.dtype(np.int16), (texts, count, hidden)).astype(np.int32)
        return KernelOutput(
            pooled=self._read(at["pooled"], np.dtype(np.int16), (texts if want & Want.POOLED else 0, hidden)),
            tokens=self._read(at["tokens"], np.dtype(np.int16), (rows if want & Want.TOKENS else 0, hidden)),
            slots=slots,
        )

    def _lay_out(self, **sizes: int) -> dict[str, int]:
        """Give each buffer of a call its address, growing the memory where needed."""
        at: dict[str, int] = {}
        end = self._buffers
        for name, size in sizes.items():
            at[name] = end
            end = _aligned(end + size)
        self._reserve(end)
        return at

    def _reserve(self, end: int) -> None:
        missing = end - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // _PAGE))

    def _address(self, offset: int) -> int:
        pointer = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p)
        return (pointer.value or 0) + offset

    def _write(self, offset: int, array: NDArray[Any]) -> None:
        data = np.ascontiguousarray(array)
        ctypes.memmove(self._address(offset), data.ctypes.data, data.nbytes)

    def _read(self, offset: int, dtype: np.dtype[T], shape: tuple[int, ...]) -> NDArray[T]:
        out = np.empty(shape, dtype=dtype)
        ctypes.memmove(out.ctypes.data, self._address(offset), out.nbytes)
        return out
