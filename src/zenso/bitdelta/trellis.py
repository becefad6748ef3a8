"""The trellis of the ``frame`` family: a bit says a number by means of the seven bits before it.

A **visit** spends one bit on one coordinate. The value it adds is ``step * table[window] / 4096``, where the window is
the byte made of this bit (highest) and the seven before it (the one just before is bit 6). So a bit has 256 values to
choose among instead of 2, and neighbours share the choice; the best run of bits is found exactly, by dynamic
programming over the 128 states (Viterbi, 1967; trellis-coded quantisation: Marcellin and Fischer, 1990). On Gaussian
numbers one bit then leaves 28.5% of the variance, against 36.3% for a plain sign and 25% for any code at all.

The tables (``data/trellis.safetensors``, int16 (2, 256), 4096 = one standard deviation) were learned by
``scripts/build_frame_codebook.py`` as centroids of what falls to each window: table 0 for Gaussian numbers, table 1
for numbers with heavier tails, as residuals have.
"""

from functools import cache
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from zenso.errors import IntegrityError

DATA = Path(__file__).parent / "data"
TABLES = 2
WINDOWS = 256
TABLE_UNIT_BITS = 12
MAX_ENTRY = 5 << TABLE_UNIT_BITS  # five standard deviations

_COST_SHIFT = 7  # costs count in 1/32 of a standard deviation
_TARGET_BITS = 10  # targets in 1/1024 of a step ...
_TARGET_LIMIT = 6 << _TARGET_BITS  # ... are cut to six steps, which bounds the costs
# A visit of weight a costs at most a * ((5 * 32)^2 + 2 * 5 * 32 * 6 * 32) = 87,040 a in magnitude. The sum over a
# pass stays below 2^29, so that a window nothing leads to (2^30) stays dearer than any other, and all fits int32.
MAX_PASS_WEIGHT = 6000
_UNREACHABLE = 1 << 30


@cache
def tables() -> NDArray[np.int16]:
    """Return the shipped tables, int16 (2, 256).

    Raises
    ------
    IntegrityError
        The file is damaged.
    """
    path = DATA / "trellis.safetensors"
    try:
        found = load(path.read_bytes())["tables"]
    except (OSError, SafetensorError, KeyError) as error:
        message = f"the trellis {path} cannot be read ({error}); reinstall zenso"
        raise IntegrityError(message) from error
    if found.dtype != np.int16 or found.shape != (TABLES, WINDOWS) or int(np.abs(found.astype(int)).max()) > MAX_ENTRY:
        message = f"the trellis {path} holds {found.dtype} {found.shape}; reinstall zenso"
        raise IntegrityError(message)
    found.setflags(write=False)
    return found


def round_to_costs(table: NDArray[np.int16]) -> NDArray[np.int32]:
    """Round tables to the unit in which costs are counted, 1/32 of a standard deviation."""
    rounded: NDArray[np.int32] = (table.astype(np.int32) + (1 << (_COST_SHIFT - 1))) >> _COST_SHIFT
    return rounded


@cache
def cost_tables() -> NDArray[np.int32]:
    """Return the shipped tables in the unit of costs, int32 (2, 256)."""
    return round_to_costs(tables())


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _sweep(
    costs: NDArray[np.int32],
    best: NDArray[np.int32],
    came_from: NDArray[np.uint8],
    table: NDArray[np.int32],
    squares: NDArray[np.int32],
    weight: int,
    pull: int,
) -> None:
    """One visit: ``costs`` of windows before become those of windows after; windows 2j and 2j+1 lead to j, j+128."""
    for j in range(WINDOWS // 2):
        even, odd = costs[2 * j], costs[2 * j + 1]
        best[j] = min(even, odd)
        came_from[j] = odd < even
    for bit in range(2):
        first = bit * (WINDOWS // 2)
        for j in range(WINDOWS // 2):
            # weight * (t - z)^2 without the part that all windows share
            costs[first + j] = best[j] + squares[first + j] * weight - table[first + j] * pull


@numba.njit(cache=True, nogil=True, boundscheck=False)
def run_pass(
    residual: NDArray[np.int64],
    window: int,
    visits: NDArray[np.int64],
    table: NDArray[np.int16],
    coarse: NDArray[np.int32],
    windows: NDArray[np.uint8],
) -> int:
    """Choose the bits of one pass for one vector, and take what they say from its residual.

    Parameters
    ----------
    residual : int64, shape (d,)
        Changed in place.
    window : int
        The eight bits before this pass, the latest highest.
    visits : int64, shape (3, m)
        Dimensions, none of them twice, steps and weights.
    table, coarse : shape (256,)
        The table, and the same in the unit of costs.
    windows : uint8, shape (m,)
        Out: the window of each visit; its highest bit is the visit's bit.

    Returns
    -------
    int
        The last window.
    """
    dims, steps, weights = visits[0], visits[1], visits[2]
    count = len(dims)
    squares = coarse * coarse
    costs = np.full(WINDOWS, np.int32(_UNREACHABLE))
    costs[window] = 0
    best = np.empty(WINDOWS // 2, np.int32)
    came_from = np.empty((count, WINDOWS // 2), np.uint8)
    for v in range(count):
        target = (residual[dims[v]] << _TARGET_BITS) // steps[v]
        target = min(max(target, -_TARGET_LIMIT), _TARGET_LIMIT)
        pull = (target * weights[v]) >> (_TARGET_BITS - 6)  # 2 * 32 * target * weight
        _sweep(costs, best, came_from[v], coarse, squares, weights[v], pull)
    last = 0
    for w in range(1, WINDOWS):
        if costs[w] < costs[last]:
            last = w
    at = last
    for v in range(count - 1, -1, -1):
        windows[v] = at
        residual[dims[v]] -= (steps[v] * table[at]) >> TABLE_UNIT_BITS
        low = at & (WINDOWS // 2 - 1)
        at = 2 * low | came_from[v, low]
    return last
