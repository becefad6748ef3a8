"""Normalise and quantise float vectors that come from elsewhere, without hardware floating point (CFS-010, 8 and 9).

Vectors of the canonical encoder never pass through here: they are normalised and rounded from integers, exactly. All
arithmetic is the kernel's SoftF64, run in the WebAssembly module: IEEE-754 binary64 in integer code.
"""

import threading
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from zenso.canonical.kernel_call import aligned
from zenso.canonical.wasm_kernel import Instance
from zenso.errors import InputError


class Operation(IntEnum):
    """Operations of SoftF64, as ``kernel.c`` numbers them."""

    ADD = 0
    MULTIPLY = 1
    DIVIDE = 2
    SQUARE_ROOT = 3
    FROM_BINARY32 = 4
    TO_BINARY32 = 5


class _SoftFloat:
    """An instance of the module for SoftF64; one caller at a time."""

    def __init__(self) -> None:
        self._instance = Instance()
        self._lock = threading.Lock()

    def call(self, name: str, inputs: list[NDArray[np.generic]], output: NDArray[np.generic], *leading: int) -> None:
        """Copy the inputs in, call ``name(*leading, inputs..., output, count)``, and copy the output out."""
        with self._lock:
            addresses, end = [], self._instance.heap
            for array in (*inputs, output):
                addresses.append(end)
                end = aligned(end + array.nbytes)
            self._instance.reserve(end)
            for address, array in zip(addresses, inputs, strict=False):
                self._instance.write(address, array)
            self._instance.call(name, *leading, *addresses, output.size)
            self._instance.read(addresses[-1], output)


_soft: _SoftFloat | None = None
_starting = threading.Lock()


def _soft_float() -> _SoftFloat:
    global _soft  # noqa: PLW0603  # made on first use, because compiling the module takes a moment
    with _starting:
        _soft = _soft or _SoftFloat()
        return _soft


def soft_f64(operation: Operation, a: NDArray[np.uint64], b: NDArray[np.uint64] | None = None) -> NDArray[np.uint64]:
    """Compute on the bits of binary64 numbers (of binary32 numbers in the low half, where converted).

    Rounding is to nearest, ties to even; subnormals are kept; every NaN is 0x7FF8000000000000 (0x7FC00000).

    Parameters
    ----------
    a, b : uint64, shape (n,)
        ``b`` is needed for two operands only.
    """
    out = np.empty(a.shape, np.uint64)
    _soft_float().call("zenso_soft_f64", [a, a if b is None else b], out, int(operation))
    return out


def _vectors(values: NDArray[np.floating]) -> NDArray[np.float32]:
    vectors = np.ascontiguousarray(values, dtype=np.float32)
    if vectors.ndim not in {1, 2} or not vectors.shape[-1]:
        message = f"vectors must have shape (width,) or (n, width), not {vectors.shape}"
        raise InputError(message)
    if not np.isfinite(vectors).all():
        message = "a vector holds NaN or infinity (or a number too large for float32); leave it out"
        raise InputError(message)
    return vectors


def normalise(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Divide each vector by its Euclidean norm; one whose norm is zero is returned as it is.

    Squares are added in order, and root and quotients computed, in binary64; quotients are rounded to binary32.

    Parameters
    ----------
    vectors : float32, shape (width,) or (n, width)

    Raises
    ------
    InputError
        Another shape, or a number that is not finite.
    """
    given = _vectors(vectors)
    out = np.empty_like(given)
    for row, target in zip(np.atleast_2d(given), np.atleast_2d(out), strict=True):
        _soft_float().call("zenso_normalise_f32", [row], target)
    return out


def quantise(vectors: NDArray[np.floating]) -> NDArray[np.int16]:
    """Scale by 32767 and round to the nearest integer, with the dead zone of CFS-010.

    A scaled value within 2^-16 of k + 1/2 goes to the smaller magnitude, so that two machines whose floats differ in
    the last place still agree; hence there are no ties. Values beyond -1 and 1 saturate at -32767 and 32767.

    Parameters
    ----------
    vectors : float32, shape (width,) or (n, width)

    Raises
    ------
    InputError
        Another shape, or a number that is not finite.
    """
    given = _vectors(vectors)
    out = np.empty(given.shape, np.int16)
    _soft_float().call("zenso_quantise_f32", [given], out)
    return out
