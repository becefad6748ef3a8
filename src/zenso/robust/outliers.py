"""Rows that lie far from the others: Mahalanobis distance with a shrunk covariance, for fewer rows than dimensions.

The covariance of the core rows is shrunk towards a multiple of the identity (Ledoit and Wolf 2004, A well-conditioned
estimator for large-dimensional covariance matrices). Nothing of size (d, d) is made: with k core rows X, centred, and
covariance aI + bX'X, a squared distance is (x'x - b x'X' (aI + bXX')^-1 Xx) / a, which needs dot products of rows only.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zenso.errors import InputError
from zenso.robust.columns import trimmed_sums
from zenso.robust.rows import Rows, check_rows

LEAST_ROWS = 8
_ROUNDS = 2
_TO_DEVIATION = 1 / NormalDist().inv_cdf(0.75)  # of a normal variable: standard deviation / median deviation


@dataclass(frozen=True)
class Outliers:
    """How far rows lie from the others."""

    scores: NDArray[np.float64]  # (n,): Mahalanobis distances, each row's by the others' mean and covariance
    flags: NDArray[np.bool_]  # (n,)
    threshold: float  # of the scores, above which a row is flagged
    shrinkage: float  # 0: the sample covariance; 1: a multiple of the identity


def find_outliers(vectors: ArrayLike, *, false_alarms: float = 0.01, threads: int = 1) -> Outliers:
    """Score rows by shrunk Mahalanobis distance and flag those that lie too far out.

    First the half of the rows nearest to the coordinate median is the core, then the rows not flagged by it. Scores
    of a core row are by the other core rows. To be flagged, the score's 2/3 power, which is close to normal (Wilson
    and Hilferty 1931), must exceed the median by so many standard deviations, told from the median deviation, as
    leave ``false_alarms`` above them.

    Hostile rows that all but agree and are many make the covariance their own; fewer than half of the rows must be
    hostile. What lies within the spread of honest rows is not seen, whatever it wants.

    Parameters
    ----------
    vectors : float32, float64 or int16, shape (n, d)
        At least 8 rows. Unlike aggregates of int16 the result is in floats.
    false_alarms : float
        Share of honest rows that may be flagged, above 0 and below 1/2, for rows that are normally distributed;
        of those with heavier tails more are flagged, and of few rows too (docs/robust.md has numbers).

    Raises
    ------
    InputError
        Something is not as described.
    """
    if not 0 < false_alarms < 0.5:
        raise InputError(f"false_alarms is {false_alarms}; give a share above 0 and below 0.5")
    rows = check_rows(vectors, least=LEAST_ROWS)
    products = _products(rows, threads)
    core = np.argsort(products.diagonal(), kind="stable")[: rows.n // 2 + 1]
    deviations = NormalDist().inv_cdf(1 - false_alarms)
    for _ in range(_ROUNDS):
        scores, shrinkage = _scores(products, core, rows.d)
        powers = np.cbrt(scores) ** 2
        middle = np.median(powers)
        limit = middle + deviations * _TO_DEVIATION * np.median(np.abs(powers - middle))
        # Equal rows have no spread, and differ in the last bits.
        threshold = float(max(limit, middle * (1 + 1e-9)) ** 1.5)
        flags = scores > threshold
        core = np.flatnonzero(~flags)
    return Outliers(scores, flags, threshold, shrinkage)


def _products(rows: Rows, threads: int) -> NDArray[np.float64]:
    """Dot products of rows less their coordinate median, on a scale where the core's are about 1."""
    cut = (rows.n - 1) // 2
    centre = trimmed_sums(rows, cut, threads) / (rows.n - 2 * cut)
    wide = rows.array - centre
    sizes = np.sqrt(np.median(np.einsum("ij,ij->i", wide, wide)))
    wide /= sizes or 1.0
    np.clip(wide, -1e60, 1e60, out=wide)  # beyond, products would leave the range of floats
    return np.asarray(wide @ wide.T)


def _scores(products: NDArray[np.float64], core: NDArray[np.int64], d: int) -> tuple[NDArray[np.float64], float]:
    """Distances by the core's mean and shrunk covariance, and the shrinkage."""
    k = len(core)
    to_core = products[:, core].mean(axis=1)
    within = to_core[core].mean()
    centred = products[:, core] - to_core[:, None] - to_core[core] + within  # (n, k)
    squares = np.maximum(products.diagonal() - 2 * to_core + within, 0)
    inner = centred[core]
    trace = inner.trace() / k
    if trace <= 0:  # the core is one point: distances to it are all there is
        return np.sqrt(squares), 1.0
    shrinkage = _shrinkage(inner, trace, d)
    identity, sample = shrinkage * trace / d, (1 - shrinkage) / k  # a and b
    inside = identity * np.eye(k) + sample * inner
    found = (squares - sample * np.einsum("ij,ji->i", centred, np.linalg.solve(inside, centred.T))) / identity
    # A core row is part of the mean and of the covariance; this is what it scores without (Sherman and Morrison 1950).
    apart = found[core] * (k / (k - 1)) ** 2
    found[core] = apart / np.maximum(1 - sample * (k - 1) / k * apart, 1e-12)
    return np.sqrt(np.maximum(found, 0)), shrinkage


def _shrinkage(inner: NDArray[np.float64], trace: float, d: int) -> float:
    """Ledoit and Wolf's share of the identity, from dot products of the k centred rows."""
    k = len(inner)
    sample = float((inner**2).sum()) / k**2  # squared Frobenius norm of the sample covariance
    gap = sample - trace**2 / d
    noise = (float((inner.diagonal() ** 2).sum()) / k - sample) / k
    # Without any, a covariance of fewer rows than dimensions could not be inverted.
    return min(1.0, max(noise / gap, 1e-9)) if gap > 0 else 1.0
