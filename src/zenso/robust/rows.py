"""What rules work on: checked rows and weights, either floats or exact integers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zenso.errors import InputError

# Bounds of the integer form: sums of weight times number, and squared distances, stay below 2^63 (see `centres`).
MAX_DIMENSIONS = 1 << 16
MAX_WEIGHT = 1 << 20  # of all rows together; without weights a row weighs 1
MAX_FLOAT = 1e100  # squares of larger numbers would not be finite

Weights = NDArray[np.float64] | NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows as given, float32, float64 or int16, contiguous."""

    array: NDArray[Any]  # (n, d)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.array)

    @property
    def d(self) -> int:
        """Numbers in a row."""
        return int(self.array.shape[1])

    @property
    def exact(self) -> bool:
        """Whether these are integers, to be aggregated without floats."""
        return self.array.dtype.kind == "i"

    def zeros(self) -> NDArray[Any]:
        """Return a row of zeros in the type that sums have: int64 of integers, else float64."""
        return np.zeros(self.d, np.int64 if self.exact else np.float64)

    def divided(self, sums: NDArray[Any], divisor: float) -> NDArray[Any]:
        """Divide sums and return a row of the type given; integers are rounded, halves to even."""
        quotient = rounded(sums, int(divisor)) if self.exact else sums / divisor
        return quotient.astype(self.array.dtype)


def check_rows(vectors: ArrayLike, *, least: int = 1) -> Rows:
    """Check vectors.

    Raises
    ------
    InputError
        They are no array (n, d) of float32, float64 or int16 with n at least ``least`` and d from 1, are not finite,
        or are too large or too many.
    """
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise InputError(f"the vectors are not of one length ({error}); give rows of as many numbers each") from error
    if array.ndim != 2 or not array.shape[1]:
        raise InputError(f"vectors of shape {array.shape}; give (rows, numbers), at least 1 number in a row")
    if len(array) < least:
        raise InputError(f"{len(array)} rows; give at least {least}")
    if array.dtype not in (np.float32, np.float64, np.int16):
        raise InputError(f"vectors of {array.dtype}; give float32, float64 or, for the exact form, int16")
    if array.dtype.kind == "i":
        if array.shape[1] > MAX_DIMENSIONS or len(array) > MAX_WEIGHT:
            raise InputError(
                f"int16 vectors of shape {array.shape}; the exact form takes {MAX_WEIGHT:,} rows of "
                f"{MAX_DIMENSIONS:,} numbers at most"
            )
    else:
        # NaN is in both and compares false; `abs` or `isfinite` would copy all numbers.
        greatest, least_number = (extreme.astype(np.float64) for extreme in (array.max(axis=1), array.min(axis=1)))
        wrong = np.flatnonzero(~((greatest <= MAX_FLOAT) & (least_number >= -MAX_FLOAT)))
        if len(wrong):
            raise InputError(
                f"row {wrong[0]} holds NaN, infinity or a number beyond {MAX_FLOAT:g}"
                f"{f', as {len(wrong) - 1} other rows do' if len(wrong) > 1 else ''}; leave such rows out"
            )
    return Rows(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))


def check_weights(weights: ArrayLike, rows: Rows) -> Weights:
    """Check one weight a row; integers for the exact form.

    Raises
    ------
    InputError
        There are more or fewer, one is negative or not finite, or all are zero; or in the exact form one is not
        whole, or their sum is larger than 1,048,576.
    """
    array = np.asarray(weights)
    if array.shape != (rows.n,) or array.dtype.kind not in "iuf":
        raise InputError(f"weights of {array.dtype} {array.shape} for {rows.n} rows; give one number a row")
    if not np.isfinite(array).all() or array.min() < 0:
        raise InputError("a weight is negative or not finite; give 0 or more")
    if not array.any() or array.max() > MAX_FLOAT:
        raise InputError(f"the weights are all zero, or one is beyond {MAX_FLOAT:g}; give numbers that compare rows")
    if not rows.exact:
        # A scale says nothing, and sums of very small or large ones would leave the range of floats.
        wide = array.astype(np.float64)
        return wide / wide.max() if wide.max() > 1e15 or wide.max() < 1e-15 else wide
    if array.dtype.kind == "f":
        raise InputError("weights of int16 vectors must be integers; scale and round them, or give float vectors")
    total = sum(array.tolist())
    if total > MAX_WEIGHT:
        raise InputError(f"the weights sum to {total:,}; with int16 vectors the sum is {MAX_WEIGHT:,} at most")
    return array.astype(np.int64)


def rounded(numerators: NDArray[np.int64], divisor: int) -> NDArray[np.int64]:
    """Divide by a positive integer and round to the nearest, halves to even."""
    quotient, rest = np.divmod(numerators, divisor)
    half = divisor - rest  # twice the rest compared with the divisor, without leaving int64
    return np.asarray(quotient + ((rest > half) | ((rest == half) & (quotient & 1 == 1))))


def spread(work: Callable[[int, int], Any], columns: int, tile: int, threads: int) -> list[Any]:
    """Run ``work(start, stop)`` over all columns, whole tiles to each thread. Not numba's threads: they may be taken.

    Raises
    ------
    InputError
        ``threads`` is less than 1.
    """
    if threads < 1:
        raise InputError(f"{threads} threads; give at least 1")
    tiles = -(-columns // tile)
    threads = min(threads, tiles)
    bounds = [min(columns, tiles * part // threads * tile) for part in range(threads + 1)]
    if threads == 1:
        return [work(0, columns)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda part: work(*part), pairwise(bounds)))
