"""Squared distances between rows, and what is chosen by them: Krum's scores and nearest-neighbour mixing."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError
from zenso.robust.rows import Rows, spread

MAX_ROWS = 8192  # every two are compared: 512 MB of distances
_TILE = 512  # columns; 100 rows of float32 are 205 kB of each
# Sums may be taken in any order, so that they become vector instructions. NaN and infinity keep their meaning.
_ANY_ORDER = {"reassoc", "contract"}


@numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=_ANY_ORDER)
def _add_squares(rows: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add the squared differences of columns start to stop to ``out``, above the diagonal; that stays 0."""
    n = len(rows)
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        for i in range(n):
            one = rows[i, first:last]
            for j in range(i + 1, n):
                other = rows[j, first:last]
                total = out[i, i]  # 0 in the type to add in
                for c in range(len(one)):
                    gap = out.dtype.type(one[c] - other[c])
                    total += gap * gap
                out[i, j] += total


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _add_chosen(rows: NDArray[Any], chosen: NDArray[np.int64], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add columns start to stop of the rows chosen (m, k) to ``out`` (m, d)."""
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        for i in range(len(chosen)):
            total = out[i, first:last]
            for k in range(chosen.shape[1]):
                part = rows[chosen[i, k], first:last]
                for c in range(len(total)):
                    total[c] += part[c]


def squared_distances(rows: Rows, threads: int) -> NDArray[Any]:
    """Return the squared Euclidean distance of every two rows: (n, n), int64 of int16 and else float64.

    Raises
    ------
    InputError
        There are more than 8,192 rows.
    """
    if rows.n > MAX_ROWS:
        raise InputError(f"{rows.n:,} rows are too many to compare every two; give {MAX_ROWS:,} at most")

    def work(start: int, stop: int) -> NDArray[Any]:
        # Of int16 each square is below 2^32, and of 2^16 columns the sum below 2^48.
        part = np.zeros((rows.n, rows.n), rows.zeros().dtype)
        _add_squares(rows.array, start, stop, part)
        return part

    upper = sum(spread(work, rows.d, _TILE, threads))
    return np.asarray(upper + upper.T)


def krum_scores(squares: NDArray[Any], neighbours: int) -> NDArray[Any]:
    """Sum the squared distances to the nearest other rows: (n,). Of 8,192 integers below 2^48 the sum is below 2^61."""
    # The first of a sorted row is the distance to itself.
    return np.asarray(np.sort(squares, axis=1)[:, 1 : 1 + neighbours].sum(axis=1))


def mixed(rows: Rows, f: int, threads: int) -> Rows:
    """Replace each row by the mean of the n - f nearest to it, itself included; ties go to the lower row."""
    nearest = np.argsort(squared_distances(rows, threads), axis=1, kind="stable")[:, : rows.n - f]
    sums = np.zeros(rows.array.shape, rows.zeros().dtype)
    spread(lambda start, stop: _add_chosen(rows.array, nearest, start, stop, sums), rows.d, _TILE, threads)
    return Rows(rows.divided(sums, rows.n - f))
