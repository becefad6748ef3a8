"""Reputation from verified outcomes: the Beta reputation system (Jøsang and Ismail 2002) with exponential decay.

A key's good and bad outcomes, each weighing half as much after every half-life, are the parameters of a Beta
distribution beside a prior of 1 good and 4 bad. Its mean is the key's *score*: 0.2 for a key that nobody knows.

**What Sybil keys cost.** A new key costs nothing to make, so a new key is worth nothing: its *standing*, the weight
to give it in a vote or an aggregate, is 0, and so is that of a thousand of them. A key cannot gain by starting over
before its score is below 0.2, where its standing is 0 already. To reach a score s without a bad outcome takes
(5s - 1) / (1 - s) verified good outcomes for each key (`outcomes_for`): 3 for 0.5, 15 for 0.8, 35 for 0.9; and to hold
it, as many again as decay takes: a share ln 2 a half-life. Each such outcome is work that helped the others, checked,
with its proof of work and within the hourly limit. What reputation cannot stop: a key that earns standing by honest
work and then spends it.

Time is given by the caller, in seconds since 1970; nothing here reads a clock.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp2, isfinite
from typing import Any

from zenso.errors import InputError

PRIOR_GOOD, PRIOR_BAD = 1.0, 4.0
NEWCOMER = PRIOR_GOOD / (PRIOR_GOOD + PRIOR_BAD)
HALF_LIFE = 30 * 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class Reputation:
    """Outcomes of one key, as they weigh at a time."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0  # seconds since 1970
    half_life: float = HALF_LIFE  # seconds

    def observe(self, at: float, *, good: bool, weight: float = 1.0) -> "Reputation":
        """Add a verified outcome at a time; one of the past counts as if it had been added then.

        Raises
        ------
        InputError
            The time is not finite, or the weight not a positive number.
        """
        if not (0 < weight < float("inf") and isfinite(at)):
            raise InputError(f"an outcome of weight {weight} at {at}; give a positive weight and a time in seconds")
        known = self.at_time(at)
        new = weight * exp2((at - known.at) / self.half_life)
        return Reputation(
            known.good + (new if good else 0.0), known.bad + (0.0 if good else new), known.at, self.half_life
        )

    def at_time(self, at: float) -> "Reputation":
        """Return it as it weighs at a later time."""
        now = max(at, self.at)
        known = self._kept(now)
        return Reputation(self.good * known, self.bad * known, now, self.half_life)

    def score(self, at: float) -> float:
        """Return how likely the next outcome is good, 0 to 1; that of a newcomer is 0.2."""
        kept = self._kept(max(at, self.at))
        good = PRIOR_GOOD + self.good * kept
        return good / (good + PRIOR_BAD + self.bad * kept)

    def standing(self, at: float) -> float:
        """Return the weight to give the key, 0 to 1: how far its score exceeds that of a newcomer."""
        return max(0.0, (self.score(at) - NEWCOMER) / (1 - NEWCOMER))

    def to_json(self) -> dict[str, float]:
        """Return numbers that `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Reputation":
        """Take what `to_json` returned.

        Raises
        ------
        InputError
            It is something else.
        """
        names = set(cls.__slots__)
        numbers = all(isinstance(value, int | float) and isfinite(value) for value in state.values())
        if set(state) != names or not numbers or min(state["good"], state["bad"]) < 0 or state["half_life"] <= 0:
            raise InputError(f"a reputation of {dict(state)!r}; it has {', '.join(sorted(names))}, numbers from 0")
        return cls(**{name: float(value) for name, value in state.items()})

    def _kept(self, at: float) -> float:
        return exp2((self.at - at) / self.half_life)


def outcomes_for(score: float) -> float:
    """Return how many good outcomes, and no bad one, take a newcomer to a score.

    Raises
    ------
    InputError
        The score is not from 0 to below 1.
    """
    if not 0 <= score < 1:
        raise InputError(f"a score of {score}; give 0 to below 1")
    return max(0.0, ((PRIOR_GOOD + PRIOR_BAD) * score - PRIOR_GOOD) / (1 - score))
