"""Centres that are stepped towards: the geometric median and centred clipping, in floats and in integers.

Integers count 64ths: a centre is 64 times what it stands for, and so are distances to it. All steps are a fixed
number of integer operations: square roots are rounded down (`math.isqrt`), divisions by row too, and those of a
coordinate to the nearest, halves to even.
"""

from math import isqrt
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError
from zenso.robust.rows import Rows, Weights, rounded

UNIT = 64
_STEP_BITS = 40  # of the sum of what rows count in a step
_ANY_ORDER = {"reassoc", "contract"}


@numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=_ANY_ORDER)
def _squares(rows: NDArray[Any], centre: NDArray[Any], unit: float, out: NDArray[Any]) -> None:
    """Squared distances of ``unit`` times the rows to a centre."""
    for i in range(len(rows)):
        row = rows[i]
        total = out.dtype.type(0)
        for c in range(len(centre)):
            gap = unit * row[c] - centre[c]
            total += gap * gap
        out[i] = total


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _pull(rows: NDArray[Any], centre: NDArray[Any], unit: float, counts: NDArray[Any], out: NDArray[Any]) -> None:
    """Add the differences of ``unit`` times the rows to a centre, each times its count."""
    for i in range(len(rows)):
        row, count = rows[i], counts[i]
        for c in range(len(centre)):
            out[c] += count * (unit * row[c] - centre[c])


def _distances(rows: Rows, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = np.zeros(rows.n)
    _squares(rows.array, centre, 1.0, squares)
    return np.sqrt(squares)


def _float_step(rows: Rows, centre: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(rows.d)
    _pull(rows.array, centre, 1.0, counts, sums)
    return sums


def _integer_distances(rows: Rows, centre: NDArray[np.int64]) -> list[int]:
    """Distances in 64ths. A difference is below 2^22, so 2^16 squares sum to less than 2^60."""
    squares = np.zeros(rows.n, np.int64)
    _squares(rows.array, centre, np.int64(UNIT), squares)
    return [isqrt(square) for square in squares.tolist()]


def _integer_step(rows: Rows, centre: NDArray[np.int64], counts: list[int], divisor: int) -> NDArray[np.int64]:
    """Mean pull in 64ths. Counts sum to 2^40 at most and a difference is below 2^22: sums are below 2^62."""
    sums = np.zeros(rows.d, np.int64)
    _pull(rows.array, centre, np.int64(UNIT), np.array(counts, np.int64), sums)
    return rounded(sums, divisor)


def _shift(total: int) -> int:
    return _STEP_BITS - total.bit_length()


def weighted_sum(rows: Rows, weights: Weights) -> NDArray[Any]:
    """Sum weight times row: (d,)."""
    sums = rows.zeros()
    _pull(rows.array, rows.zeros(), sums.dtype.type(1), weights, sums)
    return sums


def float_geometric_median(
    rows: Rows,
    weights: NDArray[np.float64],
    centre: NDArray[np.float64],
    *,
    smoothing: float | None,
    iterations: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Step by Weiszfeld's method: the mean weighted by weight / distance, distances below ``smoothing`` raised to it.

    Without ``smoothing`` it is a millionth of the median distance to the first centre. It ends early once a step is
    shorter than ``tolerance`` times that distance.
    """
    distances = _distances(rows, centre)
    scale = float(np.median(distances))
    floor = smoothing if smoothing is not None else scale * 1e-6
    if floor == 0:  # half of the rows lie on the centre
        return centre
    for _ in range(iterations):
        counts = weights / np.maximum(distances, floor)
        counts /= counts.sum()
        step = _float_step(rows, centre, counts)
        centre = centre + step
        if np.sqrt(step @ step) <= tolerance * scale:
            break
        distances = _distances(rows, centre)
    return centre


def integer_geometric_median(
    rows: Rows, weights: NDArray[np.int64], centre: NDArray[np.int64], iterations: int
) -> NDArray[np.int64]:
    """Do the same in 64ths: distances below 1 are raised to it, and it ends early at a centre that stays."""
    shift = _shift(int(weights.sum()))
    for _ in range(iterations):
        distances = [max(distance, UNIT) for distance in _integer_distances(rows, centre)]
        nearest = min(distances)
        counts = [
            ((weight * nearest) << shift) // distance
            for weight, distance in zip(weights.tolist(), distances, strict=True)
        ]
        step = _integer_step(rows, centre, counts, sum(counts))
        if not step.any():
            break
        centre = centre + step
    return centre


def float_clipping(
    rows: Rows, weights: NDArray[np.float64], centre: NDArray[np.float64], radius: float | None, iterations: int
) -> NDArray[np.float64]:
    """Step by the mean difference, each cut to ``radius``; without one, to the median distance to the first centre."""
    shares = weights / weights.sum()
    for _ in range(iterations):
        distances = _distances(rows, centre)
        if radius is None:
            radius = float(np.median(distances))
        centre = centre + _float_step(rows, centre, shares * (radius / np.maximum(distances, max(radius, 1e-300))))
    return centre


def integer_clipping(
    rows: Rows, weights: NDArray[np.int64], centre: NDArray[np.int64], radius: int | None, iterations: int
) -> NDArray[np.int64]:
    """Do the same in 64ths; of an even number of distances the lower middle one is the radius."""
    total = int(weights.sum())
    shift = _shift(total)
    for _ in range(iterations):
        distances = _integer_distances(rows, centre)
        if radius is None:
            radius = sorted(distances)[(rows.n - 1) // 2]
        counts = [
            weight * ((radius << shift) // max(distance, radius, 1))
            for weight, distance in zip(weights.tolist(), distances, strict=True)
        ]
        centre = centre + _integer_step(rows, centre, counts, total << shift)
    return centre


def check_start(start: Any, rows: Rows) -> NDArray[np.float64]:  # noqa: ANN401 - whatever the caller gave
    """Check a centre to begin from.

    Raises
    ------
    InputError
        The rows are integers, or it is not one finite float for each number of a row.
    """
    if rows.exact:
        raise InputError("the exact form begins at the coordinate median; leave `start` out, or give float vectors")
    array = np.asarray(start, np.float64)
    if array.shape != (rows.d,) or not np.isfinite(array).all():
        raise InputError(f"a start of shape {array.shape}; give {rows.d} finite numbers, as many as a row has")
    return array
