from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zenso.rerank.lexical import SATURATION_BITS, distinct, lexical_evidence

tokens = st.lists(st.integers(0, 12), max_size=60)


@given(st.dictionaries(st.integers(0, 12), st.integers(0, 255), min_size=1, max_size=8), tokens)
def test_is_bm25(query, candidate):
    ids, weights = np.array(list(query), np.int32), np.array(list(query.values()), np.int32)
    unique, heavy = distinct(ids, weights)
    found = lexical_evidence(unique, heavy, np.array(candidate, np.int32)) if len(unique) else 0
    expected = Fraction(0)
    for token, weight in query.items():
        count = candidate.count(token)
        norm = Fraction(12, 10) * (Fraction(1, 4) + Fraction(3, 4) * Fraction(len(candidate), 130))
        expected += weight * Fraction(22, 10) * count / (count + norm)
    # Each token is rounded down once.
    assert 0 <= expected - Fraction(found, 1 << SATURATION_BITS) <= Fraction(sum(query.values()), 1 << SATURATION_BITS)


def test_a_token_that_a_query_repeats_counts_once():
    ids, weights = np.array([7, 3, 7], np.int32), np.array([20, 0, 20], np.int32)
    unique, heavy = distinct(ids, weights)
    assert unique.tolist() == [7]
    assert heavy.tolist() == [20]
