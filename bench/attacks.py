"""What hostile nodes report: they know all honest rows and agree among themselves."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def random_rows(honest: Floats, f: int, random: np.random.Generator) -> Floats:
    """Report anything: ten times the spread of the honest rows around 0."""
    return random.normal(0, 10 * float(honest.std()), (f, honest.shape[1]))


def large_norm(honest: Floats, f: int, random: np.random.Generator) -> Floats:
    """Report a vector a million times too long."""
    return np.repeat(1e6 * random.standard_normal((1, honest.shape[1])), f, axis=0)


def sign_flip(honest: Floats, f: int, random: np.random.Generator) -> Floats:  # noqa: ARG001 - of one kind
    """Report the opposite of the honest mean."""
    return np.repeat(-honest.mean(axis=0)[None], f, axis=0)


def alie(honest: Floats, f: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    """Report the mean moved by as many deviations as hide among honest rows (Baruch et al. 2019)."""
    n = f + len(honest)
    needed = n // 2 + 1 - f  # honest rows that must lie farther out for the hostile ones to be the majority
    deviations = NormalDist().inv_cdf(min(max((n - f - needed) / (n - f), 0.5), 0.99))
    return np.repeat((honest.mean(axis=0) - deviations * honest.std(axis=0))[None], f, axis=0)


def inner_product(honest: Floats, f: int, random: np.random.Generator) -> Floats:  # noqa: ARG001
    """Report a short vector against the mean (Xie et al. 2020, Fall of empires)."""
    return np.repeat(-0.5 * honest.mean(axis=0)[None], f, axis=0)


ATTACKS: dict[str, Callable[[Floats, int, np.random.Generator], Floats]] = {
    "random": random_rows,
    "large_norm": large_norm,
    "sign_flip": sign_flip,
    "alie": alie,
    "inner_product": inner_product,
}
