"""Scores from 0 to 1: the share of candidates with such evidence that answer their query.

A logistic curve (Platt, 1999) over the evidence, fitted by ``scripts/calibrate_reranker.py`` on one half of the
questions of SQuAD 1.1 dev against the 100 paragraphs that search finds for each; docs/reranking.md shows how well it
fits the other half. It rises with the evidence, so it never changes an order.
"""

from dataclasses import dataclass
from math import exp


@dataclass(frozen=True)
class Calibration:
    """A logistic curve."""

    slope: float
    middle: float  # the evidence at which half of the candidates answer

    def score(self, evidence: float) -> float:
        """Return the share of candidates with this evidence that answer, 0 to 1."""
        x = self.slope * (evidence - self.middle)
        return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


FROM_TEXT = Calibration(slope=28.585, middle=0.6793)
FROM_CODE = Calibration(slope=22.707, middle=0.8110)
