"""The rules: what each takes, how many rows it needs, and how it combines them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zenso.errors import InputError
from zenso.robust import centres, columns
from zenso.robust.distances import krum_scores, squared_distances
from zenso.robust.rows import Rows, Weights


class Combined(NamedTuple):
    """What a rule makes of rows."""

    vector: NDArray[Any]
    selected: NDArray[np.int64]
    scores: NDArray[Any] | None


@dataclass(frozen=True)
class Rule:
    """A way to combine rows of which f may be hostile."""

    name: ClassVar[str]
    takes_weights: ClassVar[bool] = True

    def most_hostile(self, n: int) -> int:
        """Return the largest f that n rows allow; negative where n rows are too few for any."""
        return (n - 1) // 2

    def needs(self, f: int) -> str:
        """Say what f hostile rows need."""
        return f"n >= 2f + 1 = {2 * f + 1} rows"

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:
        """Combine checked rows."""
        raise NotImplementedError


def _all(rows: Rows, vector: NDArray[Any]) -> Combined:
    return Combined(vector, np.arange(rows.n), None)


def _equal(rows: Rows, weights: Weights | None) -> Weights:
    return np.ones(rows.n, rows.zeros().dtype) if weights is None else weights


def _total(weights: NDArray[Any]) -> float:
    return float(weights.sum()) if weights.dtype.kind == "f" else int(weights.sum())


def _medians(rows: Rows, weights: Weights | None, threads: int) -> tuple[NDArray[Any], int]:
    """Sum the middle numbers of each column; also how many they are."""
    if weights is not None:
        return columns.weighted_median_sums(rows, weights, threads), 2
    return columns.trimmed_sums(rows, (rows.n - 1) // 2, threads), 2 - rows.n % 2


@dataclass(frozen=True)
class Mean(Rule):
    """Arithmetic mean, for comparison: one hostile row moves it anywhere, so f must be 0."""

    name = "mean"

    def most_hostile(self, n: int) -> int:  # noqa: ARG002 - it is always the same
        """Return 0."""
        return 0

    def needs(self, f: int) -> str:  # noqa: ARG002
        """Say that nothing is enough."""
        return "f = 0: one hostile row moves it anywhere"

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:  # noqa: ARG002
        """Combine checked rows."""
        weights = _equal(rows, weights)
        return _all(rows, rows.divided(centres.weighted_sum(rows, weights), _total(weights)))


@dataclass(frozen=True)
class Median(Rule):
    """Coordinate-wise median, of an even number the mean of the two middle ones.

    Source: Yin et al. 2018, Byzantine-robust distributed learning: towards optimal statistical rates.
    """

    name = "median"

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:  # noqa: ARG002
        """Combine checked rows."""
        return _all(rows, rows.divided(*_medians(rows, weights, threads)))


@dataclass(frozen=True)
class TrimmedMean(Rule):
    """Mean of each coordinate without its f least and f greatest numbers.

    With weights, as much weight is cut at either end as the f heaviest rows have. Source: as `Median`.
    """

    name = "trimmed_mean"

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:
        """Combine checked rows."""
        if weights is None:
            return _all(rows, rows.divided(columns.trimmed_sums(rows, f, threads), rows.n - 2 * f))
        cut = _total(np.sort(weights)[rows.n - f :])
        sums = columns.weighted_trimmed_sums(rows, weights, cut, threads)
        return _all(rows, rows.divided(sums, _total(weights) - 2 * cut))


@dataclass(frozen=True)
class GeometricMedian(Rule):
    """The point with the least sum of distances to all rows, by Weiszfeld's method with smoothed distances.

    Parameters
    ----------
    smoothing : float, optional
        Distances below it count as so much; by default a millionth of the median distance. In the exact form it is 1.
    iterations : int, optional
        Most steps: by default 1,000, and 100 in the exact form.
    tolerance : float
        Ends at a step this much shorter than the median distance; 0 takes all steps. The exact form ends where a
        step moves nothing.
    start : array (d,), optional
        First centre; by default the coordinate median.

    Source: Pillutla, Kakade, Harchaoui 2022, Robust aggregation for federated learning.
    """

    name = "geometric_median"
    smoothing: float | None = None
    iterations: int | None = None
    tolerance: float = 1e-9
    start: ArrayLike | None = None

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:  # noqa: ARG002
        """Combine checked rows."""
        _check_positive("smoothing", self.smoothing)
        _check_positive("iterations", self.iterations)
        if rows.exact:
            if self.smoothing is not None:
                raise InputError("the exact form smooths distances below 1; leave `smoothing` out")
            return _by_steps(
                rows,
                weights,
                None,
                threads,
                lambda given, centre: centres.integer_geometric_median(rows, given, centre, self.iterations or 100),
            )
        return _by_steps(
            rows,
            weights,
            self.start,
            threads,
            lambda given, centre: centres.float_geometric_median(
                rows,
                given,
                centre,
                smoothing=self.smoothing,
                iterations=self.iterations or 1000,
                tolerance=self.tolerance,
            ),
        )


@dataclass(frozen=True)
class CentredClipping(Rule):
    """Steps by the mean difference to a centre, each difference cut to a radius.

    Parameters
    ----------
    radius : float, optional
        By default the median distance of the rows to the first centre. In the exact form a whole number.
    iterations : int
    start : array (d,), optional
        First centre; by default the coordinate median.

    Source: Karimireddy, He, Jaggi 2021, Learning from history for Byzantine robust optimization.
    """

    name = "centred_clipping"
    radius: float | None = None
    iterations: int = 10
    start: ArrayLike | None = None

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:  # noqa: ARG002
        """Combine checked rows."""
        _check_positive("radius", self.radius)
        _check_positive("iterations", self.iterations)
        if not rows.exact:
            return _by_steps(
                rows,
                weights,
                self.start,
                threads,
                lambda given, centre: centres.float_clipping(rows, given, centre, self.radius, self.iterations),
            )
        if self.radius is not None and self.radius != int(self.radius):
            raise InputError(f"a radius of {self.radius} in the exact form; give a whole number, in units of the rows")
        radius = None if self.radius is None else int(self.radius) * centres.UNIT
        return _by_steps(
            rows,
            weights,
            self.start,
            threads,
            lambda given, centre: centres.integer_clipping(rows, given, centre, radius, self.iterations),
        )


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"{name} is {value}; give a positive number")


def _by_steps(
    rows: Rows,
    weights: Weights | None,
    start: ArrayLike | None,
    threads: int,
    step: Callable[[Any, NDArray[Any]], NDArray[Any]],
) -> Combined:
    """Begin at ``start`` or the coordinate median, and step from there."""
    if start is not None:
        centre = centres.check_start(start, rows)
    else:
        sums, count = _medians(rows, weights, threads)
        centre = sums * (centres.UNIT // count) if rows.exact else sums / count
    return _all(rows, rows.divided(step(_equal(rows, weights), centre), centres.UNIT if rows.exact else 1))


@dataclass(frozen=True)
class Krum(Rule):
    """The row with the least sum of squared distances to its nearest other rows; ties go to the lower row.

    Parameters
    ----------
    neighbours : int, optional
        Other rows that count, by default n - f - 2 as published. ByzFL counts n - f - 1.

    Source: Blanchard et al. 2017, Machine learning with adversaries.
    """

    name = "krum"
    takes_weights = False
    neighbours: int | None = None

    def most_hostile(self, n: int) -> int:
        """Return the largest f that n rows allow; negative where n rows are too few for any."""
        return (n - 3) // 2

    def needs(self, f: int) -> str:
        """Say what f hostile rows need."""
        return f"n >= 2f + 3 = {2 * f + 3} rows"

    def _scores(self, rows: Rows, f: int, threads: int) -> NDArray[Any]:
        neighbours = rows.n - f - 2 if self.neighbours is None else self.neighbours
        if not 1 <= neighbours < rows.n:
            raise InputError(f"{neighbours} neighbours of {rows.n} rows; give 1 to {rows.n - 1}")
        return krum_scores(squared_distances(rows, threads), neighbours)

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:  # noqa: ARG002
        """Combine checked rows."""
        scores = self._scores(rows, f, threads)
        best = int(scores.argmin())
        return Combined(rows.array[best].copy(), np.array([best]), scores)


@dataclass(frozen=True)
class MultiKrum(Krum):
    """The mean of the rows with the least scores of `Krum`.

    Parameters
    ----------
    keep : int, optional
        How many, by default n - f.
    """

    name = "multi_krum"
    keep: int | None = None

    def combine(self, rows: Rows, f: int, weights: Weights | None, threads: int) -> Combined:  # noqa: ARG002
        """Combine checked rows."""
        keep = rows.n - f if self.keep is None else self.keep
        if not 1 <= keep <= rows.n - f:
            raise InputError(f"keep is {keep}; of {rows.n} rows of which {f} may be hostile give 1 to {rows.n - f}")
        scores = self._scores(rows, f, threads)
        best = np.sort(np.argsort(scores, kind="stable")[:keep])
        kept = Rows(rows.array[best])
        return Combined(kept.divided(centres.weighted_sum(kept, _equal(kept, None)), keep), best, scores)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (Mean(), Median(), TrimmedMean(), GeometricMedian(), Krum(), MultiKrum(), CentredClipping())
}
