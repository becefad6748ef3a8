"""Scoring codes, coarse to fine: which rows each stage looks at, and how many it leaves to the next.

1. ``scan``: slot 0 of every row that may be found, 48 bytes a row. Left out, with the next stage, where so few rows may
   be found that scoring all of them is as fast.
2. ``prefix``: slot 0 and the first 12 groups (1,920 dimensions) of the rows that the scan left.
3. ``codes``: all groups of the rows that are left then; or the first 12 or 27, if a search asks for 1,920 or 3,840
   dimensions.

With ``"auto"`` the dimensions follow the query: where the best row of the prefixes stands out, theirs are enough, and
otherwise the rows that they leave are scored with 3,840 or with all (``choose_dimensions``).

A stage keeps all rows that tie with its last one, so what is found depends on neither the order in which documents
were added nor the number of threads.
"""

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from zenso.bitdelta import DIMENSIONS, SlotQuery
from zenso.bitdelta.table import agreement
from zenso.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.memory.matrix import View


Dimensions = int | Literal["auto"]
PREFIX_DIMENSIONS = DIMENSIONS[0]
# By how much the best similarity must exceed the second, with 1,920 dimensions, for 1,920 and for 3,840 to be enough.
MARGINS = (0.05, 0.03)
_LEAST = {"exhaustive_rows": 0, "prefix_rows": 1, "prefix_share": 1, "code_rows": 1, "threads": 1}


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How much work a search does; the defaults come from ``python -m bench search``.

    Parameters
    ----------
    exhaustive_rows
        Up to so many rows all are scored with their whole codes.
    prefix_rows, prefix_share
        The scan leaves so many rows, or one in ``prefix_share`` of those that may be found if that is more.
    code_rows
        The prefixes leave so many rows.
    threads
        Most threads of one search; None for the processors of the machine. It never changes what is found.

    Raises
    ------
    InputError
        A number is out of range.
    """

    exhaustive_rows: int = 10_000
    prefix_rows: int = 5_000
    prefix_share: int = 80
    code_rows: int = 2_500
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if name == "threads" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}; give a whole number of at least {least}")

    @property
    def most_threads(self) -> int:
        """Threads a search may use."""
        return self.threads or os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage left: rows of the view (n,), ascending, and their scores (n,), higher is nearer.

    ``considered`` is the number of rows it looked at.
    """

    name: str
    considered: int
    rows: "NDArray[np.int64]"
    scores: "NDArray[np.float64]"
    seconds: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The outcome of all stages: the last one's rows (n,) and integer scores (n,), and each stage's own result.

    ``dimensions`` is what the last one scored.
    """

    rows: "NDArray[np.int64]"
    scores: "NDArray[np.int64]"
    stages: tuple[StageResult, ...]
    dimensions: int


def check_dimensions(dimensions: object) -> Dimensions:
    """Return what a search may be asked for: 1,920, 3,840, 7,680 or ``"auto"``.

    Raises
    ------
    InputError
        It is something else.
    """
    if dimensions == "auto":
        return "auto"
    if isinstance(dimensions, bool) or dimensions not in DIMENSIONS:
        known = ", ".join(map(str, DIMENSIONS))
        raise InputError(f"dimensions is {dimensions!r}; choose one of {known}, or 'auto'")
    return next(known for known in DIMENSIONS if known == dimensions)


def choose_dimensions(similarities: "NDArray[np.float64]") -> int:
    """Choose by how far the best row of the prefixes stands out among the others: 1,920, 3,840 or 7,680.

    The margins were chosen on held-out SQuAD questions.
    """
    if len(similarities) < 2:
        return DIMENSIONS[0]
    second, best = np.partition(similarities, len(similarities) - 2)[-2:]
    return DIMENSIONS[sum(bool(best - second < margin) for margin in MARGINS)]


def rank(
    view: "View",
    query: SlotQuery,
    k: int,
    allowed: "NDArray[np.int64] | None",
    settings: SearchSettings,
    dimensions: Dimensions = DIMENSIONS[-1],
) -> Ranking:
    """Find the best ``k`` rows of a view, and those that score the same as the last of them, in ascending order.

    ``allowed`` are the seqs a filter left, ascending, or None for all.
    """
    mask = view.mask(allowed)
    count = len(view.table) if mask is None else int(np.count_nonzero(mask))
    threads = settings.most_threads
    stages = []
    left = max(k, settings.prefix_rows, count // settings.prefix_share)
    staged = count > max(left, settings.exhaustive_rows)
    if staged:
        began = time.perf_counter()
        nearest = view.table.scan(query.slot_planes, left, mask, threads)
        rows, seconds = nearest.rows, time.perf_counter() - began
        stages.append(StageResult("scan", count, rows, agreement(nearest.costs), seconds))
    else:
        rows = np.arange(count) if mask is None else np.flatnonzero(mask)
    left = max(k, settings.code_rows)
    if dimensions == "auto" or (staged and dimensions != PREFIX_DIMENSIONS and len(rows) > left):
        stages.append(_score_stage("prefix", view, query, rows, left, PREFIX_DIMENSIONS, threads)[0])
        rows = stages[-1].rows
        if dimensions == "auto":
            dimensions = choose_dimensions(stages[-1].scores)
    last, scores = _score_stage("codes", view, query, rows, k, dimensions, threads)
    return Ranking(last.rows, scores, (*stages, last), dimensions)


def _score_stage(
    name: str, view: "View", query: SlotQuery, rows: "NDArray[np.int64]", left: int, dimensions: int, threads: int
) -> "tuple[StageResult, NDArray[np.int64]]":
    """Score rows and keep the best ``left``, and those that score the same as the last of them."""
    began = time.perf_counter()
    scores = view.table.score(query, rows, dimensions, threads)
    considered = len(rows)
    if considered > left:
        best = scores >= np.partition(scores, considered - left)[considered - left]
        rows, scores = rows[best], scores[best]
    seconds = time.perf_counter() - began
    return StageResult(name, considered, rows, query.similarity(scores), seconds), scores


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that a stage left, and the stage's score of it, about -1 to 1, higher is nearer."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a search: how many documents it looked at, and those it left to the next, best first.

    ``seconds`` is the time that its scoring and choosing took.
    """

    name: str
    considered: int
    candidates: tuple[Candidate, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a search came to its hits: its stages, in order, and how many dimensions of the codes the last one scored."""

    stages: tuple[Stage, ...]
    dimensions: int
