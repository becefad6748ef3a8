import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitdelta import reference
from tests.bitdelta.strategies import seeds
from zenso.bitdelta.grouping import group_tokens


def make_tokens(seed, count, width, largest):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(-largest, largest + 1, (count, width)).astype(np.int32)
    return tokens, rng.integers(0, 256, count).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 30), st.sampled_from([1, 3, 16]), st.sampled_from([0, 1, 2, 26_000]), st.integers(1, 12))
def test_groups_are_those_of_the_reference(seed, count, width, largest, limit):
    tokens, weights = make_tokens(seed, count, width, largest)
    groups, served = group_tokens(tokens, weights, limit)
    expected = reference.group(tokens.tolist(), weights.tolist(), limit)
    assert (groups.tolist(), served) == (expected[0], expected[1])


def test_every_token_has_its_own_group_where_there_is_room():
    tokens, weights = make_tokens(1, 10, 64, 1000)
    weights += 1
    groups, served = group_tokens(tokens, weights, 57)
    assert {row.tobytes() for row in groups > 0} == {row.tobytes() for row in tokens > 0}
    assert served == (weights * np.abs(tokens).sum(axis=1)).sum()


@pytest.mark.parametrize("limit", [2, 5, 20])
def test_a_prefix_serves_less_and_less_is_added(limit):
    tokens, weights = make_tokens(2, 60, 32, 1000)
    groups, served = group_tokens(tokens, weights, limit)
    reached = [(weights * (tokens @ groups[:n].T).max(axis=1).clip(0)).sum() for n in range(1, len(groups) + 1)]
    gains = np.diff([0, *reached])
    assert reached[-1] == served
    assert (gains > 0).all()
    assert (np.diff(gains) <= 0).all()


def test_rounds_of_k_means_serve_more_than_the_first_tokens_do():
    tokens, weights = make_tokens(3, 120, 32, 1000)
    served = group_tokens(tokens, weights, 8)[1]
    signs = np.where(tokens[:8] > 0, 1, -1)
    assert served > (weights * (tokens @ signs.T).max(axis=1)).sum()


def test_heavy_tokens_are_served_better():
    tokens, _ = make_tokens(4, 100, 64, 1000)
    weights = np.ones(100, np.int64)
    weights[40:45] = 255
    groups, _ = group_tokens(tokens, weights, 5)
    best = (tokens @ groups.T).max(axis=1) / np.abs(tokens).sum(axis=1)
    assert best[40:45].min() > 0.99 > best[:40].max()


def test_tokens_of_zeros_need_no_group():
    groups, served = group_tokens(np.zeros((3, 8), np.int32), np.ones(3, np.int64), 5)
    assert groups.shape == (0, 8)
    assert served == 0
