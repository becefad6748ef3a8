"""Why a candidate has its score: which of its tokens answer those of the query, and where they stand together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from zenso.rerank.late_interaction import PASSAGES, Evidence
from zenso.zen import Windows

_UNIT = 32767.0 * 32767.0


@dataclass(frozen=True)
class Match:
    """A token of the query and the token of the candidate that is most like it."""

    query: str
    candidate: str
    start: int  # characters of the candidate
    end: int
    similarity: float  # cosine, -1 to 1
    share: float  # of the query's weight, 0 to 1


@dataclass(frozen=True)
class Explanation:
    """The passage of a candidate that answers best, and its matches, in the order of the query."""

    start: int  # characters of the candidate
    end: int
    passage: str
    matches: tuple[Match, ...]  # tokens of the query that have any weight


class Explainer:
    """Puts the evidence on candidates of one query into characters."""

    def __init__(self, query: str, weights: NDArray[np.int32], tokenizer: Tokenizer, prefix: str) -> None:
        """``weights`` are those of the query's tokens with its prefix, special tokens included."""
        self._tokenizer = tokenizer
        self._weights = weights.tolist()
        self._query = prefix + query
        self._asked = tokenizer.encode(self._query).offsets

    def explain(self, evidence: Evidence, windows: Windows) -> Explanation:
        """Explain the evidence that a candidate's windows hold."""
        pieces = [self._tokenizer.encode(piece) for piece in windows.pieces]
        number, first = evidence.best
        start, end = _span(pieces[number], windows.spans[number][0], first, first + PASSAGES[-1])
        total = sum(self._weights)
        matches = []
        for token, weight in enumerate(self._weights):
            if weight:
                window, place = evidence.places[token].tolist()
                begin, stop = _span(pieces[window], windows.spans[window][0], place, place + 1)
                asked = slice(*self._asked[token])
                similarity = min(1.0, float(evidence.matches[token]) / _UNIT)
                found = windows.text[begin:stop]
                matches.append(Match(self._query[asked], found, begin, stop, similarity, weight / total))
        return Explanation(start, end, windows.text[start:end], tuple(matches))


def _span(encoding: Encoding, shift: int, first: int, last: int) -> tuple[int, int]:
    """Characters of some tokens of a window that begins at character ``shift``; special tokens have none."""
    offsets = [pair for pair in encoding.offsets[first:last] if pair[1] > pair[0]]
    if not offsets:
        return shift, shift
    return shift + offsets[0][0], shift + offsets[-1][1]
