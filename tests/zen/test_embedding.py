import numpy as np
import pytest

from tests.zen import slot_reference
from zenso.bitdelta import encode_slots, score
from zenso.canonical import CanonicalEncoder, SlotRule, Want
from zenso.zen import ZenEncoder
from zenso.zen.embedding import document_slots, query_embedding
from zenso.zen.slot_artifact import load_slot_artifact


@pytest.fixture(scope="module")
def rule():
    artifact = load_slot_artifact("all-MiniLM-L6-v2")
    return SlotRule(artifact.cells, artifact.token_weights)


@pytest.fixture(scope="module")
def documents(encoder, rule, texts):
    encoded = encoder._encoder.encode(texts, Want.POOLED | Want.DOCUMENT_SLOTS, slots=rule)
    return document_slots(encoded.pooled, encoded.slots)


@pytest.fixture(scope="module")
def states(encoder, texts):
    return encoder.encode_tokens(texts)


def test_slot_zero_is_the_pooled_vector(encoder, documents, texts):
    assert np.array_equal(documents[:, 0], encoder.encode_vectors(texts))


def test_every_slot_is_a_direction(documents):
    lengths = np.sqrt((documents.astype(np.int64) ** 2).sum(axis=2))
    assert documents.shape[1:] == (20, 384)
    assert np.abs(lengths - 32767).max() < np.sqrt(384)  # one unit a coordinate


def test_document_slots_equal_those_made_from_token_states(documents, states, rule):
    empty_cells = 0
    for slots, state in zip(documents, states, strict=True):
        sums, filled = slot_reference.document_sums(state.tokens, rule.cells)
        directions = sums[filled] / np.linalg.norm(sums[filled], axis=1, keepdims=True) * 32767
        assert np.abs(slots[1:][filled] - np.rint(directions)).max() <= 1
        nearest = slot_reference.nearest_tokens(state.tokens, rule.cells)
        assert np.array_equal(slots[1:][~filled], nearest[~filled])
        empty_cells += int((~filled).sum())
    assert empty_cells  # or the second half of this test would show nothing


def test_one_word_fills_every_slot_from_its_three_tokens(documents, states):
    tokens = states[0].tokens
    assert len(tokens) == 3  # [CLS] word [SEP]
    candidates = {token.tobytes() for token in tokens}
    alone = [slot.tobytes() in candidates for slot in documents[0, 1:]]
    assert sum(alone) >= 17  # the three tokens fill at most two cells if any two of them share one
    assert len({slot.tobytes() for slot in documents[0, 1:]}) <= 4


def test_query_slots_are_the_exact_sums(encoder, states, texts, rule):
    for text, state in zip(texts, states, strict=True):
        query = encoder.encode_query(text)
        assert np.array_equal(query.slots[1:], slot_reference.query_sums(state.tokens, state.weights, rule.cells))
        assert np.array_equal(query.vector, state.vector)


def test_query_weights(encoder, states, texts):
    for text, state in zip(texts, states, strict=True):
        query = encoder.encode_query(text)
        token_weight = int(state.weights.sum())
        pooled_weight = max(1, token_weight * 3 // 17)
        assert np.array_equal(query.slots[0], query.vector.astype(np.int64) * pooled_weight)
        assert query.weight == token_weight + pooled_weight


def test_pooled_vector_never_weighs_nothing():
    pooled = np.full(384, 1672, np.int16)
    query = query_embedding(pooled, np.zeros((19, 384), np.int32), 2)
    assert query.weight == 3
    assert np.array_equal(query.slots[0], pooled)


def test_codes_are_those_of_the_slots(encoder, documents, texts):
    assert np.array_equal(encoder.encode_documents(texts).codes, encode_slots(documents))


def test_a_text_is_its_own_best_match(encoder, texts):
    codes = encoder.encode_documents(texts).codes
    for row, text in enumerate(texts):
        prepared = encoder.encode_query(text).prepare()
        similarity = prepared.similarity(score(prepared, codes))
        assert similarity.argmax() == row
        assert similarity[row] > 0.6


def test_threads_make_no_difference(encoder, texts):
    single = ZenEncoder(encoder.name, CanonicalEncoder(encoder._encoder.artifact, threads=1))
    several = ZenEncoder(encoder.name, CanonicalEncoder(encoder._encoder.artifact, threads=3))
    many = texts * 3
    one, other = single.encode_documents(many), several.encode_documents(many)
    assert np.array_equal(one.codes, other.codes)
    assert np.array_equal(one.vectors, other.vectors)
    assert np.array_equal(one.token_counts, other.token_counts)
