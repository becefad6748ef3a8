"""One call for every rule: check the rows, refuse what the rule cannot stand, combine."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zenso.errors import InputError
from zenso.robust.distances import mixed
from zenso.robust.rows import Weights, check_rows, check_weights
from zenso.robust.rules import RULES, Rule


@dataclass(frozen=True)
class Aggregate:
    """Rows combined."""

    vector: NDArray[Any]  # (d,), of the type of the rows
    selected: NDArray[np.int64]  # rows that had a part in it, ascending
    rule: str
    n: int
    f: int
    exact: bool  # int16: the same bits on every machine
    scores: NDArray[Any] | None  # (n,) of Krum and Multi-Krum: sums of squared distances, the least is best; else None


def aggregate(
    vectors: ArrayLike,
    rule: str | Rule = "median",
    *,
    f: int | None = None,
    weights: ArrayLike | None = None,
    mix: bool = False,
    threads: int = 1,
) -> Aggregate:
    """Combine rows of which some may be hostile into one.

    Parameters
    ----------
    vectors : float32, float64 or int16, shape (n, d)
        With int16, such as canonical vectors, only integers are used: the same bits on every machine.
    rule : str or Rule
        ``mean``, ``median``, ``trimmed_mean``, ``geometric_median``, ``krum``, ``multi_krum`` or
        ``centred_clipping``; an object such as ``Krum(neighbours=5)`` for other settings than the usual ones.
    f : int, optional
        How many rows may be hostile, whichever they are; by default as many as the rule stands with so many rows.
    weights : numbers, shape (n,), optional
        Such as stake times quality; integers for int16 vectors. The f heaviest rows must have less than half of all
        weight. Krum, Multi-Krum and mixing choose rows by distance, which a weight says nothing about: they refuse.
    mix : bool
        Replace each row by the mean of the n - f nearest to it first (nearest-neighbour mixing, Allouah et al. 2023).
        It makes any rule but the mean err less where honest rows differ much.
    threads : int
        For sorting columns and comparing rows.

    Raises
    ------
    InputError
        Something is not as described, or f is more than the rule stands with so many rows.
    """
    chosen = _find(rule)
    rows = check_rows(vectors)
    if weights is not None and (mix or not chosen.takes_weights):
        what = "nearest-neighbour mixing" if mix else chosen.name
        raise InputError(f"{what} has no weighted form; leave the weights out, or take another rule")
    heavy = None if weights is None else check_weights(weights, rows)
    f = _check_f(chosen, rows.n, f, heavy)
    combined = chosen.combine(mixed(rows, f, threads) if mix else rows, f, heavy, threads)
    return Aggregate(combined.vector, combined.selected, chosen.name, rows.n, f, rows.exact, combined.scores)


def mix_neighbours(vectors: ArrayLike, f: int, *, threads: int = 1) -> NDArray[Any]:
    """Replace each row by the mean of the n - f nearest to it, itself included: (n, d), of the type of the rows.

    Parameters and errors are those of `aggregate`; n >= 2f + 1. Source: Allouah et al. 2023, Fixing by mixing.
    """
    rows = check_rows(vectors)
    if not 0 <= f <= (rows.n - 1) // 2:
        raise InputError(f"{rows.n} rows with f = {f}; mixing needs n >= 2f + 1 = {2 * f + 1} rows and f from 0")
    return mixed(rows, f, threads).array


def _find(rule: str | Rule) -> Rule:
    if isinstance(rule, Rule):
        return rule
    if rule not in RULES:
        raise InputError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    return RULES[rule]


def _check_f(rule: Rule, n: int, f: int | None, weights: Weights | None) -> int:
    """Return f, or the most that the rule stands."""
    most = rule.most_hostile(n)
    if weights is not None:
        heaviest = np.cumsum(np.sort(weights)[::-1])
        most = min(most, int(np.count_nonzero(2 * heaviest < heaviest[-1])))
    if most < 0 or (f is not None and f > most):
        asked = f or 0
        if weights is not None and asked <= rule.most_hostile(n):
            raise InputError(f"the {asked} heaviest of {n} rows have half of all weight or more; {most} is the most")
        raise InputError(f"{n} rows with f = {asked}; {rule.name} needs {rule.needs(asked)}")
    if f is not None and f < 0:
        raise InputError(f"f is {f}; give the number of rows that may be hostile, 0 or more")
    return most if f is None else f
