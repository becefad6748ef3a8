"""Learn a codebook of the ``frame`` family from vectors.

Base rows are centres of a k-means, the rotation is the principal axes of what they leave (Pearson, 1901), and each
block gives its bits where the remaining variance is. Training uses floats, so its result may differ in the last place
between machines; a codebook is therefore a file with a digest, and everything made *with* it is exact.
"""

from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.codebook import BLOCKS, MAX_BASES, FrameCodebook, check_width
from zenso.bitdelta.frame import residuals
from zenso.bitdelta.trellis import cost_tables, run_pass, tables
from zenso.bitdelta.visits import ROTATION_BITS, VisitPlan, spread
from zenso.errors import InputError

Floats = NDArray[np.float64]

_ROUNDS = 15  # of k-means
_SAMPLE = 6000  # rows that steps are learned from; variances need no more
# Vectors that were not trained on leave more than these do, and a step that is too short cannot be made up for. So
# steps are fourth moments (which far values raise) and, after the first block, longer than the sample asks for.
_CAUTION = 1.15
# Later blocks prefer coordinates in which vectors are large: queries are large there too, so errors cost more.
_PREFERENCE = 0.5


def train_codebook(
    vectors: NDArray[np.int16], *, base_rows: int = 4, on_progress: Callable[[int, int], None] | None = None
) -> FrameCodebook:
    """Learn base rows, rotation and steps.

    Parameters
    ----------
    vectors : int16, shape (n, d)
        At least d; of the same kind as will be coded, some ten thousand if there are.
    base_rows : int
        1 to 256.
    on_progress : callable, optional
        Called with the blocks done and the blocks in all.

    Raises
    ------
    InputError
        The vectors have another type or shape, are too few, or are all the same; or base_rows is out of range.
    """
    if vectors.ndim != 2 or vectors.dtype != np.int16:
        message = f"training vectors must be int16 of shape (n, d), not {vectors.dtype} {vectors.shape}"
        raise InputError(message)
    check_width(vectors.shape[1])
    if len(vectors) < max(vectors.shape[1], 2):
        message = (
            f"{len(vectors)} vectors are too few to learn {vectors.shape[1]} axes from; give more, or do not train"
        )
        raise InputError(message)
    if not 1 <= base_rows <= min(MAX_BASES, len(vectors)):
        message = f"base_rows is {base_rows}; it must be 1 to {min(MAX_BASES, len(vectors))}"
        raise InputError(message)
    rows = vectors.astype(np.float64)
    centres, nearest = _centres(rows, base_rows)
    bases = np.rint(centres).astype(np.int16)
    rest = rows - bases[nearest]
    _, axes = np.linalg.eigh(rest.T @ rest)
    if not rest.any():
        message = "the training vectors are all the same; give different ones, or do not train"
        raise InputError(message)
    rotation = np.clip(np.rint(axes.T[::-1] * (1 << ROTATION_BITS)), -32767, 32767).astype(np.int16)
    sample = np.ascontiguousarray(vectors[:: max(1, len(vectors) // _SAMPLE)])
    importance = ((sample @ rotation.T.astype(np.float64)) ** 2).mean(axis=0)
    plan = _plan(residuals(sample, rotation, bases), importance, on_progress)
    return FrameCodebook(rotation=rotation, bases=bases, **plan.tables())


def _centres(rows: Floats, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """K-means from rows spaced over the input; an empty cluster keeps its centre."""
    centres = rows[np.arange(count) * (len(rows) // count)].copy()
    for _ in range(_ROUNDS if count > 1 else 0):
        nearest = _nearest(rows, centres)
        for c in range(count):
            if (nearest == c).any():
                centres[c] = rows[nearest == c].mean(axis=0)
    if count == 1:
        centres[0] = rows.mean(axis=0)
    return centres, _nearest(rows, centres)


def _nearest(rows: Floats, centres: Floats) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = (rows @ centres.T - 0.5 * (centres**2).sum(axis=1)).argmax(axis=1)
    return nearest


def _plan(left: NDArray[np.int64], importance: Floats, on_progress: Callable[[int, int], None] | None) -> VisitPlan:
    """Spend the bits block by block, each on what the blocks before it left of the sample."""
    plan = VisitPlan(left.shape[1])
    windows = np.zeros(len(left), np.int64)
    for block in range(BLOCKS):
        first = block == 0
        table = 0 if first else 1
        factor = np.ones(len(importance)) if first else importance**_PREFERENCE
        # The least that a coordinate can matter, so that constant ones get bits only when all others have enough.
        variance = np.maximum((left.astype(np.float64) ** 2).mean(axis=0), 1.0)
        for visited in spread(variance * factor):
            cost = np.maximum((left[:, visited].astype(np.float64) ** 2).mean(axis=0), 1.0) * factor[visited]
            order = np.argsort(cost, kind="stable")  # the first visits have few windows to choose among
            dims = visited[order]
            fourth = (left[:, dims].astype(np.float64) ** 4).mean(axis=0)
            steps = (fourth / 3) ** 0.25 * (1 if first else _CAUTION)  # of a Gaussian: its standard deviation
            visits = plan.add(dims, steps, cost[order])
            _run_rows(left, windows, visits, tables()[table], cost_tables()[table])
        plan.end_block(table)
        if on_progress:
            on_progress(block + 1, BLOCKS)
    return plan


@numba.njit(cache=True, nogil=True)
def _run_rows(
    left: NDArray[np.int64],
    windows: NDArray[np.int64],
    visits: NDArray[np.int64],
    table: NDArray[np.int16],
    coarse: NDArray[np.int32],
) -> None:
    chosen = np.empty(visits.shape[1], np.uint8)
    for row in range(len(left)):
        windows[row] = run_pass(left[row], windows[row], visits, table, coarse, chosen)
