import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zen import slot_reference
from zenso.zen.frequencies import ShippedCounts, document_weights, log2_fixed, query_weights

COUNTS = np.array([0, 1, 5, 40, 900, 1999, 2000])
SHIPPED = ShippedCounts(2000, COUNTS)
IDS = np.arange(len(COUNTS), dtype=np.int32)


@given(st.one_of(st.integers(1, 2**40), st.integers(0, 60).map(lambda shift: 1 << shift)))
def test_logarithm(value):
    assert 0 <= math.log2(value) * 65536 - log2_fixed(value) < 2
    if value & (value - 1) == 0:
        assert log2_fixed(value) == math.log2(value) * 65536


def test_document_weights_are_the_root_of_idf():
    expected = [slot_reference.document_weight(2000, count) for count in COUNTS.tolist()]
    weights = document_weights(SHIPPED)
    assert weights.dtype == np.int32
    assert np.abs(weights - expected).max() <= 0.51
    assert weights[-1] == 1


@pytest.mark.parametrize(("documents", "counts"), [(0, [0] * 7), (50, [50, 0, 7, 50, 1, 50, 0]), (10**7, [10**6] * 7)])
def test_query_weights_are_idf_with_a_prior(documents, counts):
    weights = query_weights(IDS, SHIPPED, lambda _: (documents, np.array(counts)))
    expected = [
        slot_reference.query_weight(2000, shipped, documents, count)
        for shipped, count in zip(COUNTS.tolist(), counts, strict=True)
    ]
    assert np.abs(weights - expected).max() <= 0.51


def test_without_a_collection_the_shipped_counts_decide():
    empty = query_weights(IDS, SHIPPED, lambda ids: (0, np.zeros(len(ids), np.int64)))
    assert np.array_equal(query_weights(IDS, SHIPPED, None), empty)
    assert (np.diff(empty) <= 0).all()


def test_lookup_is_asked_for_the_tokens_in_order():
    asked = []

    def lookup(ids):
        asked.append(ids.tolist())
        return 10, np.array([10, 0])

    weights = query_weights(np.array([3, 0], np.int32), SHIPPED, lookup)
    assert asked == [[3, 0]]
    assert weights[0] < weights[1]


def test_tokens_of_every_document_weigh_nothing():
    weights = query_weights(np.array([6, 1], np.int32), SHIPPED, lambda _: (500, np.array([500, 3])))
    assert weights[0] == 0 < weights[1]


def test_a_query_of_nothing_else_is_heard_all_the_same():
    assert query_weights(np.array([6, 6], np.int32), SHIPPED, lambda _: (9, np.array([9, 9]))).tolist() == [1, 1]


def test_a_collection_outweighs_the_prior():
    common = query_weights(IDS[1:2], SHIPPED, lambda _: (10**5, np.array([10**5 // 2])))
    rare = query_weights(IDS[1:2], SHIPPED, lambda _: (10**5, np.array([3])))
    assert common[0] < 12
    assert rare[0] > 100
