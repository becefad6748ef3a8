"""What the evidence on a candidate amounts to: a weighted sum in whole numbers."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from zenso.rerank.late_interaction import Evidence, find_evidence
from zenso.rerank.lexical import SATURATION_BITS, distinct, lexical_evidence
from zenso.zen import QueryEmbedding, TokenStates, Windows

_UNIT = 32767 * 32767
# Chosen on SQuAD 1.1 dev: MaxSim 1, best 16 tokens .5, best 32 tokens .5, words .1.
MAX_SIM, NARROW, WIDE, LEXICAL = 20, 10, 10, 2


class Scorer:
    """Scores candidates for one query."""

    def __init__(self, asked: QueryEmbedding) -> None:
        self._tokens = asked.tokens
        self._weights = asked.weights.astype(np.int64)
        self._weight = int(self._weights.sum())
        self._distinct, self._heavy = distinct(asked.ids, asked.weights)
        self._words = int(self._heavy.sum()) << SATURATION_BITS

    def score(self, windows: Windows, states: Iterable[TokenStates]) -> tuple[float, Evidence]:
        """Read a candidate: ``states`` are those of its windows.

        Returns
        -------
        score : float
            About -1 to 1: the quotient of two exact integers.
        evidence : Evidence
        """
        evidence = find_evidence(self._tokens, self._weights, _directions(states))
        narrow, wide = evidence.passages
        tokens = int(self._weights @ evidence.matches.astype(np.int64))
        alike = MAX_SIM * tokens + NARROW * narrow + WIDE * wide
        shared = LEXICAL * lexical_evidence(self._distinct, self._heavy, windows.ids)
        # alike / (weight * unit) + shared / words over their common denominator
        whole = (MAX_SIM + NARROW + WIDE + LEXICAL) * self._weight * _UNIT * self._words
        return (alike * self._words + shared * self._weight * _UNIT) / whole, evidence


def _directions(states: Iterable[TokenStates]) -> Iterator[NDArray[np.int16]]:
    for one in states:
        yield one.tokens
