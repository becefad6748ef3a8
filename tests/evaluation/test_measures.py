from math import log2

import numpy as np
import pytest

from zenso.evaluation.measures import MEASURES, RECALL, measure
from zenso.evaluation.retrieval_set import Judgement, RetrievalSet

NAMES = ["a", "b", "c", "d"]


def judged(*judgements):
    queries = list(dict.fromkeys(query for query, _, _ in judgements))
    return RetrievalSet("x", NAMES, NAMES, queries, queries, [Judgement(*one) for one in judgements], 0, 0)


def test_by_hand():
    data = judged(("q", "a", 2), ("q", "c", 1), ("q", "b", 0), ("r", "d", 1))
    found = measure(data, [np.array([1, 2, 0]), np.array([0, 1, 2])], MEASURES | RECALL)
    gained = 1 / log2(3) + 2 / log2(4)
    assert found["ndcg_at_10"].tolist() == pytest.approx([gained / (2 + 1 / log2(3)), 0])
    assert found["mrr_at_10"].tolist() == [0.5, 0]
    assert found["recall_at_1"].tolist() == [0, 0]
    assert found["recall_at_2"].tolist() == [0.5, 0]
    assert found["recall_at_100"].tolist() == [1, 0]


def test_a_query_without_any_result_counts_as_nothing():
    found = measure(judged(("q", "a", 1), ("r", "a", 1)), [np.array([], np.int64), np.array([0])])
    assert {name: values.tolist() for name, values in found.items()} == {key: [0, 1] for key in MEASURES}


def test_places_below_the_tenth():
    names = [str(number) for number in range(20)]
    data = RetrievalSet("x", names, names, ["q"], ["q"], [Judgement("q", "10", 1)], 0, 0)
    found = measure(data, [np.arange(20)])
    assert [found[name][0] for name in MEASURES] == [0, 0, 1, 0]
