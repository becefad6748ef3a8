import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenso.rerank.late_interaction import late_interaction
from zenso.zen import TokenStates

UNIT = 32767 * 32767
ROUNDING = (1 + np.sqrt(384) / 32767) ** 2 - 1  # each coordinate of a direction may be one unit off


def reference(query, candidate):
    """Weighted MaxSim and pooled cosine by their definition, as a fraction of two exact integers."""
    products = query.tokens.astype(np.int64) @ candidate.tokens.astype(np.int64).T
    tokens = sum(int(weight) * int(best) for weight, best in zip(query.weights, products.max(axis=1), strict=True))
    pooled = int((query.vector.astype(np.int64) * candidate.vector.astype(np.int64)).sum())
    weight = sum(query.weights.tolist())
    return (17 * tokens + 3 * weight * pooled) / (20 * weight * UNIT)


def directions(rng, count):
    values = rng.standard_normal((count, 384))
    return np.rint(values / np.linalg.norm(values, axis=1, keepdims=True) * 32767).astype(np.int16)


def random_states(rng, tokens):
    weights = rng.integers(1, 256, tokens).astype(np.int32)
    return TokenStates(directions(rng, 1)[0], directions(rng, tokens), weights)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 256), st.integers(1, 256))
def test_equals_the_definition(seed, asked, given_tokens):
    rng = np.random.default_rng(seed)
    query, candidate = random_states(rng, asked), random_states(rng, given_tokens)
    assert late_interaction(query, candidate) == reference(query, candidate)


def test_real_token_states(encoder):
    query, *candidates = encoder.encode_tokens(
        ["Who wrote Hamlet?", "Hamlet is a play by Shakespeare.", "Bread", "x " * 300]
    )
    for candidate in (*candidates, query):
        assert late_interaction(query, candidate) == reference(query, candidate)


def test_opposite_directions_at_the_largest_weights():
    rng = np.random.default_rng(1)
    one = directions(rng, 1)
    query = TokenStates(one[0], np.repeat(one, 256, axis=0), np.full(256, 255, np.int32))
    opposite = TokenStates(-one[0], -one, np.ones(1, np.int32))
    assert late_interaction(query, query) == pytest.approx(1, abs=ROUNDING)
    assert late_interaction(query, opposite) == pytest.approx(-1, abs=ROUNDING)
    assert late_interaction(query, opposite) == reference(query, opposite)


def test_order_of_the_candidates_tokens_does_not_matter():
    rng = np.random.default_rng(2)
    query, candidate = random_states(rng, 9), random_states(rng, 30)
    shuffled = TokenStates(candidate.vector, candidate.tokens[rng.permutation(30)], candidate.weights)
    assert late_interaction(query, shuffled) == late_interaction(query, candidate)


def test_weights_are_those_of_the_query():
    rng = np.random.default_rng(3)
    query, candidate = random_states(rng, 9), random_states(rng, 30)
    score = late_interaction(query, candidate)
    assert score == late_interaction(query, TokenStates(candidate.vector, candidate.tokens, candidate.weights * 3))
    assert score != late_interaction(TokenStates(query.vector, query.tokens, query.weights[::-1].copy()), candidate)


def test_a_text_scores_one_with_itself(encoder):
    for states in encoder.encode_tokens(["word", "Several words, and punctuation!", "long " * 400]):
        assert late_interaction(states, states) == pytest.approx(1, abs=ROUNDING)
