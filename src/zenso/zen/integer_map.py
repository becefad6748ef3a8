"""A linear map from the directions of one space to those of another, in integers.

    y = W x + b,  y / |y| * 32767 rounded

W is int16, x a direction of scale 32767 and b int64. A product is at most 2^30 in size, at most 2^12 of them are added,
and |b| <= 2^45: every sum stays below 2^46, in any order. The sums of a row are cut to 24 bits, their length is an
integer square root rounded down, and a quotient is rounded to the nearest integer, halves up.
"""

from dataclasses import dataclass
from math import isqrt

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError

SCALE = 32767
MAX_WIDTH = 4096
_MAX_BIAS = 1 << 45
_KEPT_BITS = 24


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _add_products(x: NDArray[np.int16], weights: NDArray[np.int16], out: NDArray[np.int64]) -> None:
    for r in range(len(x)):
        for j in range(len(weights)):
            total = np.int64(0)
            for i in range(x.shape[1]):
                total += np.int64(np.int32(weights[j, i]) * np.int32(x[r, i]))
            out[r, j] += total


def directions(sums: NDArray[np.int64]) -> NDArray[np.int16]:
    """Scale rows to length 32767 and round.

    Parameters
    ----------
    sums : int64, shape (n, width)
        At most 2^46 in size, width below 2^14; a row of zeros stays one.

    Returns
    -------
    int16, shape (n, width)
    """
    out = np.empty(sums.shape, np.int16)
    for row, target in zip(sums, out, strict=True):
        shift = int(np.abs(row).max(initial=0)).bit_length() - _KEPT_BITS
        cut = row >> shift if shift > 0 else row << -shift
        # Fewer than 2^14 squares of 2^48: below 2^62.
        length = max(1, isqrt(int((cut * cut).sum())))
        target[:] = np.clip((2 * SCALE * cut + length) // (2 * length), -SCALE, SCALE)
    return out


@dataclass(frozen=True)
class IntegerMap:
    """W and b."""

    weights: NDArray[np.int16]  # (outputs, inputs)
    bias: NDArray[np.int64]  # (outputs,)

    def __post_init__(self) -> None:
        weights, bias = self.weights, self.bias
        sound = weights.dtype == np.int16 and weights.ndim == 2 and 0 < max(weights.shape) <= MAX_WIDTH
        if not sound or bias.dtype != np.int64 or bias.shape != weights.shape[:1]:
            message = (
                f"a map is int16 (outputs, inputs) of at most {MAX_WIDTH} with int64 (outputs,), not {weights.dtype} "
                f"{weights.shape} with {bias.dtype} {bias.shape}"
            )
            raise InputError(message)
        if len(bias) and not -_MAX_BIAS <= bias.min() <= bias.max() <= _MAX_BIAS:
            message = f"a bias is beyond 2^45, where sums stay exact: {bias.min()} to {bias.max()}"
            raise InputError(message)

    @classmethod
    def of(cls, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> "IntegerMap":
        """Round a float map of unit vectors; a common factor changes no direction, so the largest entry is 32767.

        Parameters
        ----------
        weights : float64, shape (outputs, inputs)
        bias : float64, shape (outputs,)
        """
        unit = SCALE / np.abs(weights).max()
        return cls(np.rint(unit * weights).astype(np.int16, order="C"), np.rint(unit * SCALE * bias).astype(np.int64))

    @property
    def inputs(self) -> int:
        """Width of what is mapped."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """Width of the result."""
        return int(self.weights.shape[0])

    def sums(self, x: NDArray[np.int16]) -> NDArray[np.int64]:
        """Compute W x + b: int16 (n, inputs) to int64 (n, outputs)."""
        out = np.tile(self.bias, (len(x), 1))
        _add_products(np.ascontiguousarray(x), np.ascontiguousarray(self.weights), out)
        return out
