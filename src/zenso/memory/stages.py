"""Search, coarse to fine: which rows each stage looks at, and how many it leaves to the next.

1. ``scan``: slot 0 of every row that may be found (48 bytes a row), against the query's slot 0. Left out where so few
   rows may be found that scoring all of them is as fast.
2. ``aligned``: all slots that the query fills, of the rows that the scan left.

A stage keeps all rows that tie with its last one, so what is found depends on neither the order in which documents
were added nor the number of threads.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zenso.bitdelta import SlotQuery
from zenso.bitdelta.table import agreement
from zenso.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.memory.matrix import View


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How much work a search does; the defaults come from ``python -m bench search``.

    Parameters
    ----------
    exhaustive_rows
        Up to so many rows all are scored with all slots, without a scan.
    aligned_rows, aligned_share
        The scan leaves so many rows, or one in ``aligned_share`` of those that may be found if that is more.
    threads
        Most threads of one search; None for the processors of the machine. It never changes what is found.

    Raises
    ------
    InputError
        A number is out of range.
    """

    exhaustive_rows: int = 20_000
    aligned_rows: int = 4_000
    aligned_share: int = 125
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("exhaustive_rows", 0), ("aligned_rows", 1), ("aligned_share", 1), ("threads", 1)):
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
    """The outcome of all stages: the last one's rows (n,) and integer scores (n,), and each stage's own result."""

    rows: "NDArray[np.int64]"
    scores: "NDArray[np.int64]"
    stages: tuple[StageResult, ...]


def rank(
    view: "View", query: SlotQuery, k: int, allowed: "NDArray[np.int64] | None", settings: SearchSettings
) -> Ranking:
    """Find the best ``k`` rows of a view, and those that score the same as the last of them, in ascending order.

    ``allowed`` are the seqs a filter left, ascending, or None for all.
    """
    mask = view.mask(allowed)
    count = len(view.table) if mask is None else int(np.count_nonzero(mask))
    keep = max(k, settings.aligned_rows, count // settings.aligned_share)
    threads = settings.most_threads
    stages = []
    pooled = query.planes[query.slots == 0]
    if count > max(keep, settings.exhaustive_rows) and len(pooled):
        began = time.perf_counter()
        nearest = view.table.scan(pooled[0], keep, mask, threads)
        seconds = time.perf_counter() - began
        rows = nearest.rows
        stages.append(StageResult("scan", count, rows, agreement(nearest.costs), seconds))
    else:
        rows = np.arange(count) if mask is None else np.flatnonzero(mask)
    began = time.perf_counter()
    scores = view.table.score(query, rows, threads)
    considered = len(rows)
    if considered > k:
        best = scores >= np.partition(scores, considered - k)[considered - k]
        rows, scores = rows[best], scores[best]
    seconds = time.perf_counter() - began
    stages.append(StageResult("aligned", considered, rows, query.similarity(scores), seconds))
    return Ranking(rows, scores, tuple(stages))


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
    """How a search came to its hits: its stages, in order."""

    stages: tuple[Stage, ...]


def best_first(ids: Iterable[str], scores: "NDArray[np.int64] | NDArray[np.float64]") -> list[tuple[str, int]]:
    """Order documents by score, equal scores by id: pairs of an id and its place in what was given."""
    ordered = sorted(zip(-scores, ids, range(len(scores)), strict=True))
    return [(document_id, place) for _, document_id, place in ordered]
