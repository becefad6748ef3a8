"""How many rows to check so that a given share of bad ones is found with a given certainty.

Rows are drawn without replacement. Of N rows, K of them bad, n drawn rows miss every bad one with probability
(N-K)/N * (N-K-1)/(N-1) * ... of n factors (the hypergeometric distribution at zero).
"""

import math
from collections.abc import Iterator

from zenso.errors import InputError


def sample_size(population: int, certainty: float, loss: float) -> int:
    """Return the fewest rows to draw so that one of ``loss * population`` bad rows is among them.

    Parameters
    ----------
    population : int
    certainty : float
        Probability wanted, above 0 and at most 1; 1 leaves no choice but nearly all rows.
    loss : float
        Share of bad rows that must not go unnoticed, above 0 and at most 1.

    Raises
    ------
    InputError
        One of them is outside its range.
    """
    _check_share("certainty", certainty)
    for drawn, missed in enumerate(_misses(population, loss)):
        if missed <= 1 - certainty:
            return drawn
    return population


def certainty_of(population: int, drawn: int, loss: float) -> float:
    """Return the probability that ``drawn`` rows hold at least one of ``loss * population`` bad ones."""
    for count, missed in enumerate(_misses(population, loss)):
        if count == drawn:
            return 1 - missed
    return 1.0


def _misses(population: int, loss: float) -> Iterator[float]:
    """Yield the probability of missing every bad row with 0, 1, 2, ... rows drawn, until it is zero."""
    _check_share("loss", loss)
    # Rounded up, and at least one row; the small amount keeps 0.07 * 100, slightly above 7 in floats, at 7.
    bad = max(1, math.ceil(loss * population - 1e-9))
    missed = 1.0
    for drawn in range(population):
        yield missed
        missed *= max(0, population - bad - drawn) / (population - drawn)
        if not missed:
            yield missed
            return


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:  # NaN is refused too
        raise InputError(f"{name} is {value!r}; give a share above 0 and at most 1, such as 0.01")
