"""Whether a difference between two rankings of the same queries is more than chance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000  # of the queries, for 95% intervals
SIGN_CHANGES = 9999  # for p-values, so that the least is 2 in 10,000; all of them where there are fewer


def interval(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """95% interval of a mean over queries (percentile bootstrap), with several sets of the mean over their means.

    Of the differences of two rankings it is a paired interval. Source: Efron and Tibshirani, 1993, chapter 13.

    Parameters
    ----------
    values : sequence of float64, each of shape (queries,)
        One array a set.
    """
    generator = np.random.default_rng(0)
    means = [part[generator.integers(0, len(part), (RESAMPLES, len(part)))].mean(axis=1) for part in values]
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5])
    return float(low), float(high)


def p_value(differences: NDArray[np.float64]) -> float:
    """How often chance alone gives so large a mean difference, in either direction: a paired randomisation test.

    Each query's difference is given a random sign. Source: Smucker, Allan and Carterette, 2007.

    Parameters
    ----------
    differences : float64, shape (queries,)
    """
    from scipy.stats import permutation_test  # noqa: PLC0415 - an extra

    if not differences.any():
        return 1.0
    test = permutation_test(
        (differences,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGN_CHANGES,
        batch=max(1, 2**21 // len(differences)),  # 16 MB at a time
        rng=0,
    )
    return float(test.pvalue)
