"""Squared distances between rows, and what is chosen by them: Krum's scores and nearest-neighbour mixing."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError
from zenso.robust.rows import Rows, spread

MAX_ROWS = 8192  # every two are compared: 512 MB of distances
_TILE = 512  # columns; 100 rows of them are 205 kB of float32, for the second-level cache
# Sums may be taken in any order, so that they become vector instructions. NaN and infinity keep their meaning.
_ANY_ORDER = {"reassoc", "contract"}


@numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=_ANY_ORDER)
def _add_squares(rows: NDArray[Any], start: int, stop: int, zero: float, out: NDArray[Any]) -> None:
    """Add the squared differences of columns start to stop to ``out`` (n, n), above the diagonal.

    ``zero`` has the type to add the columns of a tile in. Four rows at a time are compared with a later one, so that
    it is read less often.
    """
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        for j in range(1, len(rows)):
            other = rows[j, first:last]
            i = 0
            while i + 4 <= j:
                one, two = rows[i, first:last], rows[i + 1, first:last]
                three, four = rows[i + 2, first:last], rows[i + 3, first:last]
                to_one = to_two = to_three = to_four = zero
                for c in range(len(other)):
                    gap = one[c] - other[c]
                    to_one += gap * gap
                    gap = two[c] - other[c]
                    to_two += gap * gap
                    gap = three[c] - other[c]
                    to_three += gap * gap
                    gap = four[c] - other[c]
                    to_four += gap * gap
                out[i, j] += to_one
                out[i + 1, j] += to_two
                out[i + 2, j] += to_three
                out[i + 3, j] += to_four
                i += 4
            while i < j:
                one = rows[i, first:last]
                total = zero
                for c in range(len(other)):
                    gap = one[c] - other[c]
                    total += gap * gap
                out[i, j] += total
                i += 1


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _add_chosen(rows: NDArray[Any], chosen: NDArray[np.int64], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add columns start to stop of the rows chosen (m, k) to ``out`` (m, d)."""
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        for i in range(len(chosen)):
            total = out[i, first:last]
            k = 0
            while k + 4 <= chosen.shape[1]:  # four at a time, so that sums are loaded and stored less often
                one, two = rows[chosen[i, k], first:last], rows[chosen[i, k + 1], first:last]
                three, four = rows[chosen[i, k + 2], first:last], rows[chosen[i, k + 3], first:last]
                for c in range(len(total)):
                    total[c] = total[c] + one[c] + two[c] + three[c] + four[c]
                k += 4
            while k < chosen.shape[1]:
                one = rows[chosen[i, k], first:last]
                for c in range(len(total)):
                    total[c] += one[c]
                k += 1


def squared_distances(rows: Rows, threads: int) -> NDArray[Any]:
    """Return the squared Euclidean distance of every two rows: (n, n), int64 of int16 and else float64.

    Raises
    ------
    InputError
        There are more than 8,192 rows.
    """
    if rows.n > MAX_ROWS:
        raise InputError(f"{rows.n:,} rows are too many to compare every two; give {MAX_ROWS:,} at most")

    squares = _squares(rows.array, threads)
    if rows.array.dtype == np.float32 and not 1e-25 < np.median(squares) < 1e35:
        # Squares that float32 cannot hold; tiles are added in it because that is twice as fast, to 7 digits as given.
        squares = _squares(rows.array.astype(np.float64), threads)
    return squares


def _squares(array: NDArray[Any], threads: int) -> NDArray[Any]:
    exact = array.dtype.kind == "i"
    # Of int16 each square is below 2^32, and of 2^16 columns the sum below 2^48.
    zero = np.int64(0) if exact else array.dtype.type(0)

    def work(start: int, stop: int) -> NDArray[Any]:
        part = np.zeros((len(array), len(array)), np.int64 if exact else np.float64)
        _add_squares(array, start, stop, zero, part)
        return part

    upper = sum(spread(work, array.shape[1], _TILE, threads))
    return np.asarray(upper + upper.T)


def krum_scores(squares: NDArray[Any], neighbours: int) -> NDArray[Any]:
    """Sum the squared distances to the nearest other rows: (n,). Of 8,192 integers below 2^48 the sum is below 2^61."""
    # The first of a sorted row is the distance to itself.
    return np.asarray(np.sort(squares, axis=1)[:, 1 : 1 + neighbours].sum(axis=1))


def mixed(rows: Rows, f: int, threads: int) -> Rows:
    """Replace each row by the mean of the n - f nearest to it, itself included; ties go to the lower row."""
    nearest = np.argsort(squared_distances(rows, threads), axis=1, kind="stable")[:, : rows.n - f]
    return Rows(rows.divided(chosen_sums(rows, nearest, threads), rows.n - f))


def chosen_sums(rows: Rows, chosen: NDArray[np.int64], threads: int) -> NDArray[Any]:
    """Sum the rows of each row of indices: (m, d) of (m, k), int64 of int16 and else float64."""
    sums = np.zeros((len(chosen), rows.d), rows.zeros().dtype)
    spread(lambda start, stop: _add_chosen(rows.array, chosen, start, stop, sums), rows.d, _TILE, threads)
    return sums
