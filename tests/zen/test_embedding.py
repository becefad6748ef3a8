import numpy as np
import pytest

from tests.bitdelta import reference
from zenso.bitdelta import DIMENSIONS, score, slot_bits
from zenso.canonical import CanonicalEncoder
from zenso.zen import ZenEncoder
from zenso.zen.frequencies import query_weights
from zenso.zen.slot_artifact import load_slot_artifact


@pytest.fixture(scope="module")
def artifact():
    return load_slot_artifact("all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def states(encoder, texts):
    return encoder.encode_tokens(texts)


def test_codes_equal_those_made_from_token_states(encoder, states, texts, artifact):
    codes = encoder.encode_documents(texts).codes
    basis = artifact.basis
    projection = basis.projection.tolist()
    short = min(range(len(texts)), key=lambda row: len(states[row].tokens))
    longer = sorted(range(len(texts)), key=lambda row: len(states[row].tokens))[len(texts) // 2]
    for row in (short, longer):
        state = states[row]
        weights = artifact.token_weights[state.ids].tolist()
        expected = reference.encode(state.vector.tolist(), state.tokens.tolist(), weights, projection, basis.share)
        assert codes[row].tobytes() == expected


def test_slot_zero_is_the_pooled_vector(encoder, texts):
    embedded = encoder.encode_documents(texts)
    assert np.array_equal(embedded.codes[:, 4:52], slot_bits(encoder.encode_vectors(texts)))


def test_short_texts_have_a_group_for_each_token(encoder, texts):
    embedded = encoder.encode_documents(texts)
    for code, count in zip(embedded.codes, embedded.token_counts, strict=True):
        assert code[1] == count if count < 20 else code[1] <= min(count, 57)


def test_query_is_its_token_states_and_weights(encoder, states, texts, artifact):
    for text, state in zip(texts, states, strict=True):
        query = encoder.encode_query(text)
        assert np.array_equal(query.vector, state.vector)
        assert np.array_equal(query.tokens, state.tokens)
        assert query.prepare().weight == query.weights.sum()
    ids = encoder._encoder.tokenizer.encode(["the hormone"], "")[0]
    assert np.array_equal(encoder.encode_query("the hormone").weights, query_weights(ids, artifact.shipped, None))


def test_query_weights_follow_the_collection(encoder):
    vocabulary = encoder.splitting_tokenizer.get_vocab()

    def lookup(ids):
        return 5000, np.where(ids == vocabulary["insulin"], 5000, 2)

    shipped = encoder.encode_query("insulin and sleep").weights
    fitted = encoder.encode_query("insulin and sleep", lookup).weights
    assert shipped[1] > shipped[2]
    assert fitted[1] < fitted[2]


def test_token_sets_are_the_distinct_ids(encoder, texts):
    embedded = encoder.encode_documents(texts)
    for text, found in zip(texts, embedded.token_sets, strict=True):
        assert found.tolist() == sorted(set(encoder._encoder.tokenizer.encode([text], "")[0].tolist()))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_a_text_is_its_own_best_match(encoder, texts, dimensions):
    codes = encoder.encode_documents(texts).codes
    for row, text in enumerate(texts):
        prepared = encoder.encode_query(text).prepare()
        similarity = prepared.similarity(score(prepared, codes, dimensions=dimensions))
        assert similarity[row] > similarity.max() - 0.02  # a text that repeats one word is as good a match for it
        assert 0.3 < similarity[row] <= 1


def test_threads_make_no_difference(encoder, texts):
    single = ZenEncoder(encoder.name, CanonicalEncoder(encoder._encoder.artifact, threads=1))
    several = ZenEncoder(encoder.name, CanonicalEncoder(encoder._encoder.artifact, threads=3))
    many = texts * 3
    one, other = single.encode_documents(many), several.encode_documents(many)
    assert np.array_equal(one.codes, other.codes)
    assert np.array_equal(one.vectors, other.vectors)
    assert np.array_equal(one.token_counts, other.token_counts)
