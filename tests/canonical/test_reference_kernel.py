"""The kernel gives the bits of an independent implementation: see ``reference_kernel``."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.canonical import reference_kernel as reference
from zenso.canonical import CanonicalEncoder, SlotRule, Want

LONG = (
    "Return a datetime that corresponds to a date string, parsed according to a format. ValueError is raised if the "
    "string and the format cannot be parsed; 日本語, émigré, and 1,234.56 are tokens like any other (see strptime)."
)
REAL_TEXTS = ("x", "The quick brown fox jumps over the lazy dog.", LONG)


def check(artifact, texts, rule):
    """Compare every output of the kernel with the reference."""
    encoder = CanonicalEncoder(artifact, threads=1)
    model = reference.Model(artifact)
    kinds = Want.POOLED | Want.TOKENS
    documents = encoder.encode(texts, kinds | Want.DOCUMENT_SLOTS, slots=rule)
    queries = encoder.encode(texts, kinds | Want.QUERY_SLOTS, slots=rule)
    for index, ids in enumerate(documents.ids):
        states = model.states(ids)
        tokens = reference.directions(states)
        pooled = reference.pooled(states, model.rows_pooled)
        for got in (documents, queries):
            np.testing.assert_array_equal(got.pooled[index], pooled)
            np.testing.assert_array_equal(got.tokens[index], tokens)
        weights = rule.token_weights[ids]
        np.testing.assert_array_equal(documents.slots[index], reference.document_slots(tokens, rule.cells))
        np.testing.assert_array_equal(queries.slots[index], reference.query_slots(tokens, rule.cells, weights))


def random_rule(seed, count, hidden, vocabulary):
    random = np.random.default_rng(seed)
    cells = random.normal(size=(count, hidden))
    cells = np.rint(32767 * cells / np.linalg.norm(cells, axis=1, keepdims=True)).astype(np.int16)
    return SlotRule(cells, random.integers(1, 256, vocabulary).astype(np.int32))


def test_real_model_gives_the_bits_of_the_reference(artifact, slot_rule):
    check(artifact, REAL_TEXTS, slot_rule)


@pytest.mark.parametrize(
    ("hidden", "heads", "wide"),
    [(64, 4, 128), (48, 3, 96), (96, 3, 176), (64, 1, 16)],  # odd and even panels, head widths 16, 32 and 64
)
def test_shapes_give_the_bits_of_the_reference(small_model, tmp_path, hidden, heads, wide):
    artifact = small_model(1, hidden=hidden, heads=heads, wide=wide).open(tmp_path)
    texts = ["a", "a b", "hello, world!", "the quick brown fox jumps over the lazy dog"]
    check(artifact, texts, random_rule(2, 5, hidden, len(artifact.words)))


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("kind", ["mpnet", "xlm-roberta"])
@pytest.mark.parametrize("spread", [0.01, 0.2, 1.5])  # the bias has more fraction bits than the scores, and fewer
def test_architectures_give_the_bits_of_the_reference(small_model, tmp_path, kind, pooling, spread):
    artifact = small_model(4, kind=kind, positions=50, spread=spread).open(tmp_path, pooling)
    texts = ["a", "hello, world!", "the quick brown fox jumps over the lazy dog"]
    check(artifact, texts, random_rule(2, 5, 64, len(artifact.words)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1e-3, 0.03, 0.2, 1.0, 2.0]),
    texts=st.lists(st.text("abcdefghijklm ,!", min_size=1, max_size=60).map(lambda t: f"a{t}"), min_size=1, max_size=4),
    cells=st.integers(1, 8),
)
def test_random_models_give_the_bits_of_the_reference(small_model, tmp_path, seed, spread, texts, cells):
    # From weights so small that a norm's rounding shows to scores so large that one token takes all the attention.
    artifact = small_model(seed, spread=spread).open(tmp_path)
    check(artifact, texts, random_rule(seed, cells, 64, len(artifact.words)))


def last_norm_bias_only(small_model, folder, bias):
    """A model whose every token state is the last norm's bias: the pooled sum is the bias times the tokens."""
    model = small_model(3, layers=1, hidden=len(bias), heads=1, wide=16)
    model.tensors["encoder.layer.0.output.LayerNorm.weight"][:] = 0
    model.tensors["encoder.layer.0.output.LayerNorm.bias"][:] = bias
    return model.open(folder)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(-(2**26), 2**26), min_size=16, max_size=16),
    cut=st.integers(0, 26),
    tokens=st.integers(3, 40),  # with the two special ones
)
def test_normalisation_is_correctly_rounded(small_model, tmp_path, numbers, cut, tokens):
    state = np.array(numbers, np.int64) >> cut  # of every magnitude
    state[0] |= 1  # not all zero
    artifact = last_norm_bias_only(small_model, tmp_path, (state / 65536).astype(np.float32))
    exact = np.clip(np.rint((state / 65536).astype(np.float32).astype(np.float64) * 65536), -(2**26), 2**26)
    total = [int(x) * tokens for x in exact]
    out = CanonicalEncoder(artifact, threads=1).encode(["a" + " a" * (tokens - 3)])
    np.testing.assert_array_equal(out.pooled[0], reference.normalised(total))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ([1, 0, 0, 0], [32767, 0, 0, 0]),
        ([-1, 0, 0, 0], [-32767, 0, 0, 0]),
        ([1, 1, 1, 1], [16384, 16384, 16384, 16384]),  # 16383.5: the tie goes to the even neighbour
        ([-1, 1, -1, 1], [-16384, 16384, -16384, 16384]),
        ([3, 3, 3, 9], [9459, 9459, 9459, 28377]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),  # no direction at all
    ],
)
def test_ties_go_to_even(small_model, tmp_path, state, expected):
    bias = np.zeros(16, np.float32)
    bias[: len(state)] = state
    artifact = last_norm_bias_only(small_model, tmp_path, bias)
    pooled = CanonicalEncoder(artifact, threads=1).encode(["a b c"]).pooled[0]
    assert pooled[: len(state)].tolist() == expected
    assert not pooled[len(state) :].any()


def test_reference_normalises_as_rational_arithmetic_does():
    assert reference.normalised([3, -4]).tolist() == [round(32767 * 3 / 5), -round(32767 * 4 / 5)]
    assert reference.normalised([1, 1, 1, 1]).tolist() == [16384] * 4
    assert reference.normalised([7, 0]).tolist() == [32767, 0]


def test_reference_refuses_what_does_not_fit():
    layer = SimpleNamespace(
        weights=np.full((16, 2), 32767),
        mantissa=np.full(16, 2**30),
        shift=np.full(16, 20),
        bias=np.zeros(16, np.int64),
    )
    with pytest.raises(AssertionError, match="does not fit 32 bits"):
        reference.linear(np.full((1, 2), 4096), layer)
