"""Evaluate rankings of a collection with judgements, and compare them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError
from zenso.evaluation.measures import CUTOFFS, MEASURES, RECALL, Values, measure
from zenso.evaluation.rankings import RANKINGS, RERANKS_TIMED, OnProgress, check_rankings, rank
from zenso.evaluation.retrieval_set import RetrievalSet, read_retrieval_set
from zenso.evaluation.significance import interval, p_value
from zenso.zen import ZenEncoder, load_encoder

COMPARED = "ndcg_at_10"  # the measure that differences are of
_EXTRA = ("ir_measures", "matplotlib", "scipy")


@dataclass(frozen=True)
class RankingResult:
    """How good one ranking is."""

    name: str
    values: Values  # name of a measure -> (queries,): recall at all cutoffs too
    low: float  # of the 95% interval of the mean nDCG@10
    high: float
    milliseconds: float  # median, from a query's text to its ranking

    def mean(self, name: str) -> float:
        """Return the mean of a measure over the queries."""
        return float(self.values[name].mean())


@dataclass(frozen=True)
class Comparison:
    """The nDCG@10 of a ranking less that of the baseline."""

    name: str
    differences: NDArray[np.float64]  # (queries,)
    low: float  # of the 95% interval of the mean
    high: float
    p_value: float  # of a paired randomisation test, two-sided

    @property
    def mean(self) -> float:
        """The mean over the queries."""
        return float(self.differences.mean())

    @property
    def better(self) -> int:
        """Queries that it answers better than the baseline does."""
        return int((self.differences > 0).sum())

    @property
    def worse(self) -> int:
        """Queries that it answers worse."""
        return int((self.differences < 0).sum())


@dataclass(frozen=True)
class Evaluation:
    """Rankings of one retrieval set, measured and compared."""

    data: RetrievalSet
    model: str
    provenance: str  # digest of everything that the embeddings depend on, hexadecimal
    baseline: str
    rankings: Mapping[str, RankingResult]
    comparisons: Mapping[str, Comparison]  # of every ranking but the baseline

    def to_json(self) -> dict[str, Any]:
        """Return all but the values of single queries, in plain types."""
        return {
            "dataset": self.data.name,
            "documents": len(self.data.documents),
            "empty_documents": self.data.empty_documents,
            "queries": len(self.data.queries),
            "unknown_answers": self.data.unknown_answers,
            "model": self.model,
            "provenance": self.provenance,
            "baseline": self.baseline,
            "rankings": {name: self._ranking_json(one) for name, one in self.rankings.items()},
        }

    def _ranking_json(self, one: RankingResult) -> dict[str, Any]:
        found: dict[str, Any] = {name: one.mean(name) for name in MEASURES}
        found |= {"ndcg_at_10_low": one.low, "ndcg_at_10_high": one.high, "ms_per_query": one.milliseconds}
        found["recall"] = {k: one.mean(name) for k, name in zip(CUTOFFS, RECALL, strict=True)}
        compared = self.comparisons.get(one.name)
        if compared is not None:
            found["over_baseline"] = {
                "mean": compared.mean,
                "low": compared.low,
                "high": compared.high,
                "p_value": compared.p_value,
                "better": compared.better,
                "worse": compared.worse,
            }
        return found


def evaluate(
    folder: str | Path,
    *,
    rankings: Sequence[str] = tuple(RANKINGS),
    baseline: str = "pooled",
    queries: int | None = None,
    encoder: ZenEncoder | Callable[[], ZenEncoder] = load_encoder,
    reranks_timed: int = RERANKS_TIMED,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Rank a collection for all of its judged queries in several ways, and tell how good each is.

    Parameters
    ----------
    folder : str or Path
        In the BEIR layout; see ``read_retrieval_set``.
    rankings : sequence of str
        Names in ``RANKINGS``.
    baseline : str
        The ranking that others are compared with; measured too.
    queries : int, optional
        Take so many, spaced evenly over all, instead of all.
    encoder : ZenEncoder or callable
        A loaded model, or what loads one, called when the folder has been read; the default model if left out.
    reranks_timed : int
        Queries behind the time of reranking from text, which takes seconds each.
    on_progress : callable, optional
        Called with what is being done, how many of it are done, and of how many.

    Raises
    ------
    InputError
        The folder is not in this layout, a name is unknown, or the extra ``evaluate`` is not installed.
    StorageError
        A file cannot be read.
    """
    _require_extra()
    for name, number in (("queries", queries), ("reranks_timed", reranks_timed)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}; give at least 1")
    names = list(dict.fromkeys([baseline, *rankings]))
    check_rankings(names)
    data = read_retrieval_set(Path(folder), queries=queries)
    loaded = encoder if isinstance(encoder, ZenEncoder) else encoder()
    results = {
        name: _result(name, measure(data, ranking.rows, MEASURES | RECALL), ranking.milliseconds)
        for name, ranking in rank(loaded, data, names, reranks_timed=reranks_timed, on_progress=on_progress).items()
    }
    compared = {name: _compare(one, results[baseline]) for name, one in results.items() if name != baseline}
    return Evaluation(data, loaded.name, loaded.provenance.digest.hex(), baseline, results, compared)


def _result(name: str, values: Values, milliseconds: float) -> RankingResult:
    return RankingResult(name, values, *interval([values[COMPARED]]), milliseconds)


def _compare(one: RankingResult, baseline: RankingResult) -> Comparison:
    differences = one.values[COMPARED] - baseline.values[COMPARED]
    return Comparison(one.name, differences, *interval([differences]), p_value(differences))


def _require_extra() -> None:
    """Say what is missing before anything takes time."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise InputError(f"evaluation needs {', '.join(missing)}; install it with: pip install 'zenso[evaluate]'")
