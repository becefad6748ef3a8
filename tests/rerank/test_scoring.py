from fractions import Fraction

import numpy as np
import pytest

from zenso.rerank.late_interaction import find_evidence
from zenso.rerank.lexical import distinct, lexical_evidence
from zenso.rerank.scoring import Scorer

TEXTS = ["Hamlet is a play by Shakespeare.", "Bread", "long words " * 300]


@pytest.mark.parametrize("text", TEXTS)
def test_is_the_weighted_sum_of_the_evidence(encoder, text):
    asked = encoder.encode_query("Who wrote Hamlet?")
    (windows,) = encoder.cut_windows([text])
    states = encoder.encode_tokens(windows.pieces)
    score, evidence = Scorer(asked).score(windows, states)
    expected = find_evidence(asked.tokens, asked.weights, [one.tokens for one in states])
    assert evidence.passages == expected.passages
    unit = int(asked.weights.sum()) * 32767**2
    tokens = Fraction(int(asked.weights.astype(np.int64) @ expected.matches.astype(np.int64)), unit)
    narrow, wide = (Fraction(total, unit) for total in expected.passages)
    unique, heavy = distinct(asked.ids, asked.weights)
    lexical = Fraction(lexical_evidence(unique, heavy, windows.ids), int(heavy.sum()) << 16)
    assert score == float((tokens + narrow / 2 + wide / 2 + lexical / 10) / Fraction(21, 10))
