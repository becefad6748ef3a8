"""Scan a large code matrix: slot 0 of every row in one pass, then single slots of the rows that came near.

Slot 0 of a document is the sign pattern of its pooled vector. For the scan it stands a second time, apart from the
codes, in a *column* of 48 bytes a row: blocks of 16 rows, and in a block word 0 of every row, then word 1 of every
row, to word 5, so that the same operation meets neighbouring numbers and compilers turn it into vector instructions.

A row's *cost* is its Hamming distance from a query's bit planes, weighted by 1, 2, 4, 8: a whole number from 0 to
5,760, less is nearer (``scan`` scores it as step * (5,760 - 2 * cost)). The best rows are chosen while scanning: a
tally of costs says at any moment which cost the last of the ``keep`` best rows so far has, and rows above it are passed
over. Rows that cost as much as the last one are all kept, so that the outcome does not depend on the order of rows, on
how the matrix is cut into pieces, or on the number of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from zenso.bitdelta.format import CODE_BYTES, HEADER_BYTES, SLOT_BYTES, SLOT_WIDTH
from zenso.bitdelta.scoring import PLANES, SlotQuery, _popcount, score
from zenso.errors import InputError

LANES = 16  # rows of a block
_WORDS = SLOT_BYTES // 8
_WORST = SLOT_WIDTH * ((1 << PLANES) - 1)
# A thread that scans fewer rows takes longer to start than it saves.
_ROWS_A_THREAD = 250_000
# One block in so many is looked at before the scan, if it is to find at least _FEW rows among them.
_SAMPLE = 32
_FEW = 32
_SCORES_A_THREAD = 1_000

COLUMN_BLOCK_BYTES = LANES * SLOT_BYTES

Column = NDArray[np.uint64]
T = TypeVar("T")


def column_shape(rows: int) -> tuple[int, int, int]:
    """Shape of the column of so many rows."""
    return -(-rows // LANES), _WORDS, LANES


def column(codes: NDArray[np.uint8]) -> Column:
    """Copy slot 0 of codes (n, 964) into a column: uint64, shape (blocks, 6, 16), rows of zeros at its end."""
    blocks = column_shape(len(codes))[0]
    words = np.zeros((blocks * LANES, _WORDS), np.uint64)
    words[: len(codes)].view(np.uint8)[:] = codes[:, HEADER_BYTES : HEADER_BYTES + SLOT_BYTES]
    return np.ascontiguousarray(words.reshape(blocks, LANES, _WORDS).transpose(0, 2, 1))


@dataclass(frozen=True)
class Nearest:
    """Rows, ascending, and their costs, both of shape (n,)."""

    rows: NDArray[np.int64]
    costs: NDArray[np.int64]


def agreement(costs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turn costs into scores from -1, every bit of every plane differs, to 1, none does."""
    return 1.0 - costs / (_WORST / 2)


class CodeTable:
    """The pieces of a code matrix as one: its rows are counted through all pieces in order.

    Parameters
    ----------
    codes : sequence of uint8 (n_i, 964)
    columns : sequence of uint64 (blocks_i, 6, 16)
        ``column`` of each piece of ``codes``. Neither is copied.

    Raises
    ------
    InputError
        A shape, a type or a memory layout is another.
    """

    def __init__(self, codes: Sequence[NDArray[np.uint8]], columns: Sequence[Column]) -> None:
        for piece, of_piece in zip(codes, columns, strict=True):
            _check_piece(piece, of_piece)
        self._codes = tuple(codes)
        self._columns = tuple(columns)  # keeps alive what the addresses below point to
        counts = [len(piece) for piece in codes]
        self._starts = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))  # (pieces + 1,)
        self._addresses = np.array([of_piece.ctypes.data for of_piece in columns], np.uint64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def scan(
        self, planes: NDArray[np.uint64], keep: int, mask: NDArray[np.bool_] | None = None, threads: int = 1
    ) -> Nearest:
        """Find the ``keep`` rows whose slot 0 is nearest, and all rows that are as near as the last of them.

        Parameters
        ----------
        planes : uint64, shape (4, 6)
            Of slot 0 of the query.
        keep : int
            At least 1.
        mask : bool, shape (rows,), optional
            Rows that may be found.
        threads : int
            Most threads to use; the outcome is the same for any number.

        Raises
        ------
        InputError
            ``keep`` is below 1, or the mask is of another shape.
        """
        if keep < 1:
            message = f"keep is {keep}; ask for at least 1"
            raise InputError(message)
        allowed = np.empty(0, np.bool_) if mask is None else mask
        if mask is not None and (mask.shape != (len(self),) or mask.dtype != np.bool_):
            message = f"the mask is {mask.dtype} of shape {mask.shape} for {len(self)} rows"
            raise InputError(message)
        cut = self._foretell_cut(planes, keep, allowed)
        bounds = self._cuts(threads)

        def scan_run(i: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            run = (bounds[i], bounds[i + 1], 1)
            found: tuple[NDArray[np.int64], NDArray[np.int64]]
            found = _scan(self._addresses, self._starts, run, planes, allowed, keep, cut)
            return found

        runs = _at_once(scan_run, len(bounds) - 1)
        if cut < _WORST and sum(len(rows) for rows, _ in runs) < keep:
            cut = _WORST
            runs = _at_once(scan_run, len(bounds) - 1)
        rows, costs = (np.concatenate([part[side] for part in runs]) for side in (0, 1))
        if len(rows) > keep and len(runs) > 1:
            near = costs <= np.partition(costs, keep - 1)[keep - 1]
            rows, costs = rows[near], costs[near]
        return Nearest(rows, costs)

    def score(
        self, query: SlotQuery, rows: NDArray[np.int64], dimensions: int | None = None, threads: int = 1
    ) -> NDArray[np.int64]:
        """Score the codes of some rows, in ascending order: int64 (n,), as ``score`` does.

        Raises
        ------
        InputError
            The rows are of another type, out of order or out of range.
        """
        if rows.dtype != np.int64 or (
            len(rows) and (rows[0] < 0 or rows[-1] >= len(self) or np.any(np.diff(rows) < 1))
        ):
            message = f"rows must be int64, ascending, from 0 to {len(self) - 1}"
            raise InputError(message)
        out = np.empty(len(rows), np.int64)
        cuts = np.searchsorted(rows, self._starts).tolist()
        held = [piece for piece in range(len(self._codes)) if cuts[piece] < cuts[piece + 1]]
        runs = max(1, min(threads, len(held), len(rows) // _SCORES_A_THREAD))

        def score_run(i: int) -> None:
            for piece in held[len(held) * i // runs : len(held) * (i + 1) // runs]:
                span = slice(cuts[piece], cuts[piece + 1])
                out[span] = score(query, self._codes[piece], rows[span] - self._starts[piece], dimensions=dimensions)

        _at_once(score_run, runs)
        return out

    def _foretell_cut(self, planes: NDArray[np.uint64], keep: int, mask: NDArray[np.bool_]) -> int:
        """Guess from a sample a cost that a little more than ``keep`` rows will not exceed, to pass over the others."""
        share = keep // _SAMPLE
        if share < _FEW or len(self) < 2 * _SAMPLE * share:
            return _WORST
        wanted = share + share // 4 + 16
        _, costs = _scan(self._addresses, self._starts, (0, len(self._codes), _SAMPLE), planes, mask, wanted, _WORST)
        return int(costs.max()) if len(costs) >= wanted else _WORST

    def _cuts(self, threads: int) -> NDArray[np.intp]:
        """Cut the pieces into runs of about the same number of rows."""
        runs = max(1, min(threads, len(self) // _ROWS_A_THREAD))
        wanted = len(self) * np.arange(1, runs) // runs
        bounds: NDArray[np.intp] = np.unique(
            np.concatenate(([0], np.searchsorted(self._starts, wanted), [len(self._codes)]))
        )
        return bounds if len(bounds) > 1 else np.zeros(2, np.intp)


def _check_piece(codes: NDArray[np.uint8], of_piece: Column) -> None:
    if codes.dtype != np.uint8 or codes.shape[1:] != (CODE_BYTES,) or not codes.flags.c_contiguous:
        message = f"codes must be contiguous uint8 of shape (n, {CODE_BYTES}), not {codes.dtype} {codes.shape}"
        raise InputError(message)
    shape = column_shape(len(codes))
    if of_piece.dtype != np.uint64 or of_piece.shape != shape or not of_piece.flags.c_contiguous:
        message = f"the column of {len(codes)} codes must be contiguous uint64 of shape {shape}, not {of_piece.shape}"
        raise InputError(message)


def _at_once(work: Callable[[int], T], pieces: int) -> list[T]:
    """Do the pieces of some work, each in a thread; threads are made anew because none survives a fork."""
    if pieces == 1:
        return [work(0)]
    with ThreadPoolExecutor(pieces - 1) as pool:
        others = [pool.submit(work, i) for i in range(1, pieces)]
        return [work(0), *(other.result() for other in others)]


@intrinsic
def _pointer(typing_context, address):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    pointer = types.CPointer(types.uint64)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return pointer(types.uint64), generate


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _scan(
    columns: NDArray[np.uint64],
    starts: NDArray[np.int64],
    span: tuple[int, int, int],
    planes: NDArray[np.uint64],
    mask: NDArray[np.bool_],
    keep: int,
    cut: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scan every ``span[2]``-th block of pieces ``span[0]`` to ``span[1] - 1`` for rows that cost at most ``cut``."""
    first, last, stride = span
    rows: NDArray[np.int64] = np.empty(2 * keep + LANES, np.int64)
    costs: NDArray[np.int64] = np.empty(2 * keep + LANES, np.int64)
    count = 0
    tally = np.zeros(_WORST + 1, np.int64)  # of the costs up to ``cut`` found so far
    inside = 0  # sum of the tally up to ``cut``
    block = np.empty(LANES, np.uint64)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for piece in range(first, last):
        size = starts[piece + 1] - starts[piece]
        words = numba.carray(_pointer(columns[piece]), ((size + LANES - 1) // LANES, _WORDS, LANES))
        for b in range(0, len(words), stride):
            for lane in range(LANES):
                total = np.uint64(0)
                for w in range(_WORDS):
                    word = words[b, w, lane]
                    total += (
                        _popcount(word ^ planes[0, w])
                        + (_popcount(word ^ planes[1, w]) << one)
                        + (_popcount(word ^ planes[2, w]) << two)
                        + (_popcount(word ^ planes[3, w]) << three)
                    )
                block[lane] = total
            least = np.uint64(_WORST)
            for lane in range(LANES):
                least = min(least, block[lane])
            if np.int64(least) > cut:
                continue
            for lane in range(min(LANES, size - b * LANES)):
                cost = np.int64(block[lane])
                row = starts[piece] + b * LANES + lane
                if cost > cut or (len(mask) and not mask[row]):
                    continue
                if count == len(rows):
                    count = _keep_up_to(cut, rows, costs, count)
                    if 2 * count > len(rows):  # many rows as near as the last one
                        rows = np.concatenate((rows, np.empty_like(rows)))
                        costs = np.concatenate((costs, np.empty_like(costs)))
                rows[count] = row
                costs[count] = cost
                count += 1
                tally[cost] += 1
                inside += 1
                while inside - tally[cut] >= keep:
                    inside -= tally[cut]
                    cut -= 1
    count = _keep_up_to(cut, rows, costs, count)
    return rows[:count].copy(), costs[:count].copy()


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _keep_up_to(cut: int, rows: NDArray[np.int64], costs: NDArray[np.int64], count: int) -> int:
    kept = 0
    for i in range(count):
        if costs[i] <= cut:
            rows[kept] = rows[i]
            costs[kept] = costs[i]
            kept += 1
    return kept
