"""Order statistics of every coordinate: the column sorts behind the median and the trimmed mean.

Columns are sorted side by side by one sorting network (Batcher's merge exchange; Knuth, The Art of Computer
Programming 3, 5.2.2, algorithm M), a tile of columns at a time. Its comparisons do not depend on the numbers, so a
comparison of two rows of a tile is a few vector instructions, and nothing is transposed.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.robust.rows import Rows, Weights, spread

TILE = 128  # columns; with 100 rows a tile of float32 is 51 kB
_WIDTH = np.uint64(TILE)  # unsigned: an index that cannot be negative lets the loop below become vector instructions


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _exchanges(n: int) -> NDArray[np.int64]:
    """Return the comparisons that sort n rows: (comparisons, 2), the lower row first."""
    pairs = []
    top = 1
    while 2 * top < n:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    pairs.append((i, i + d))  # noqa: PERF401 - numba compiles this one
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    out = np.empty((len(pairs), 2), np.int64)
    for k, pair in enumerate(pairs):
        out[k, 0], out[k, 1] = pair
    return out


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _sort(tile: NDArray[np.generic], exchanges: NDArray[np.int64]) -> None:
    """Sort the columns of rows of ``TILE`` numbers, given end to end."""
    for k in range(len(exchanges)):
        i, j = exchanges[k, 0], exchanges[k, 1]
        low, high = tile[i * TILE : (i + 1) * TILE], tile[j * TILE : (j + 1) * TILE]
        for c in range(_WIDTH):
            x, y = low[c], high[c]
            ordered = x < y
            low[c] = x if ordered else y
            high[c] = y if ordered else x


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _sort_with(tile: NDArray[np.generic], weights: NDArray[np.generic], exchanges: NDArray[np.int64]) -> None:
    """Sort as `_sort`; each number takes its weight along."""
    for k in range(len(exchanges)):
        i, j = exchanges[k, 0], exchanges[k, 1]
        low, high = tile[i * TILE : (i + 1) * TILE], tile[j * TILE : (j + 1) * TILE]
        light, heavy = weights[i * TILE : (i + 1) * TILE], weights[j * TILE : (j + 1) * TILE]
        for c in range(_WIDTH):
            x, y, v, w = low[c], high[c], light[c], heavy[c]
            ordered = x < y
            low[c] = x if ordered else y
            high[c] = y if ordered else x
            light[c] = v if ordered else w
            heavy[c] = w if ordered else v


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _trimmed_sums(rows: NDArray[np.generic], cut: int, start: int, stop: int, out: NDArray[np.generic]) -> None:
    """Sum each column without its ``cut`` least and greatest numbers."""
    n = len(rows)
    tile = np.zeros(n * TILE, rows.dtype)
    exchanges = _exchanges(n)
    for first in range(start, stop, TILE):
        width = min(TILE, stop - first)
        for i in range(n):
            for c in range(width):
                tile[i * TILE + c] = rows[i, first + c]
        _sort(tile, exchanges)
        sums = out[first : first + width]
        for i in range(cut, n - cut):
            for c in range(len(sums)):
                sums[c] += tile[i * TILE + c]


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _load(
    rows: NDArray[np.generic],
    given: NDArray[np.generic],
    first: int,
    width: int,
    tile: NDArray[np.generic],
    weights: NDArray[np.generic],
    exchanges: NDArray[np.int64],
) -> None:
    """Fill a tile and the weights beside it, and sort both."""
    for i in range(len(rows)):
        for c in range(width):
            tile[i * TILE + c] = rows[i, first + c]
        for c in range(TILE):
            weights[i * TILE + c] = given[i]
    _sort_with(tile, weights, exchanges)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _weighted_medians(
    rows: NDArray[np.generic], given: NDArray[np.generic], start: int, stop: int, out: NDArray[np.generic]
) -> None:
    """Sum the two middle numbers of each column: where the weight up to them reaches, and exceeds, half of all."""
    n, whole = len(rows), given.sum()
    tile, weights = np.zeros(n * TILE, rows.dtype), np.zeros(n * TILE, given.dtype)
    exchanges = _exchanges(n)
    for first in range(start, stop, TILE):
        width = min(TILE, stop - first)
        _load(rows, given, first, width, tile, weights, exchanges)
        for c in range(width):
            below = weights[c]
            i = 0
            while 2 * below < whole and i < n - 1:
                i += 1
                below += weights[i * TILE + c]
            total = out[first + c] + tile[i * TILE + c]
            while 2 * below <= whole and i < n - 1:
                i += 1
                below += weights[i * TILE + c]
            out[first + c] = total + tile[i * TILE + c]


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _weighted_trimmed_sums(
    rows: NDArray[np.generic],
    given: NDArray[np.generic],
    cut: float,
    start: int,
    stop: int,
    out: NDArray[np.generic],
) -> None:
    """Sum number times weight of each column without the weight ``cut`` at either end; a number may be cut in part."""
    n, whole = len(rows), given.sum()
    tile, weights = np.zeros(n * TILE, rows.dtype), np.zeros(n * TILE, given.dtype)
    exchanges = _exchanges(n)
    for first in range(start, stop, TILE):
        width = min(TILE, stop - first)
        _load(rows, given, first, width, tile, weights, exchanges)
        for c in range(width):
            below = weights[c] - weights[c]
            total = out[first + c]
            for i in range(n):
                upto = below + weights[i * TILE + c]
                kept = min(upto, whole - cut) - max(below, cut)
                if kept > 0:
                    total += kept * tile[i * TILE + c]
                below = upto
            out[first + c] = total


def trimmed_sums(rows: Rows, cut: int, threads: int) -> NDArray[np.float64] | NDArray[np.int64]:
    """Sum each column without its ``cut`` least and greatest numbers: (d,), int64 of int16 and else float64."""
    out = rows.zeros()
    spread(lambda start, stop: _trimmed_sums(rows.array, cut, start, stop, out), rows.d, TILE, threads)
    return out


def weighted_trimmed_sums(
    rows: Rows, weights: Weights, cut: float, threads: int
) -> NDArray[np.float64] | NDArray[np.int64]:
    """Sum number times weight, without the weight ``cut`` at either end of each column: (d,)."""
    out = rows.zeros()
    kind = weights.dtype.type(cut)
    spread(
        lambda start, stop: _weighted_trimmed_sums(rows.array, weights, kind, start, stop, out), rows.d, TILE, threads
    )
    return out


def weighted_median_sums(rows: Rows, weights: Weights, threads: int) -> NDArray[np.float64] | NDArray[np.int64]:
    """Return twice the weighted median of each column: (d,)."""
    out = rows.zeros()
    spread(lambda start, stop: _weighted_medians(rows.array, weights, start, stop, out), rows.d, TILE, threads)
    return out
