import numpy as np
import pytest

from bench.small_model import WORDS, SmallModel
from zenso.canonical import CanonicalEncoder
from zenso.zen import canonical_pairs, match_tokens
from zenso.zen.pairs import word_directions

TEXTS = ["a b c", "d", "e f a", "z y x w"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    model = SmallModel(1, kind="mpnet", hidden=128, heads=4)
    return CanonicalEncoder(model.open(tmp_path_factory.mktemp("source")), threads=1)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return CanonicalEncoder(SmallModel(2).open(tmp_path_factory.mktemp("target")), threads=1)


def test_equal_vocabularies_match_token_by_token(source, target):
    ids = match_tokens(source, target)
    assert ids.dtype == np.int32
    assert ids.tolist() == list(range(len(WORDS)))


def test_word_directions(source):
    ids = np.array([5, 7, 5], np.int32)
    found = word_directions(source.artifact, ids)
    assert np.array_equal(found[0], found[2])
    words = source.artifact.words[ids].astype(np.float64)
    assert np.abs(found - 32767 * words / np.linalg.norm(words, axis=1, keepdims=True)).max() < 0.51


def test_pairs_hold_both_models_states(source, target):
    done = []
    (pairs,) = canonical_pairs(source, target, TEXTS, match_tokens(source, target), on_progress=done.append)
    assert sum(done) == len(TEXTS)
    assert np.array_equal(pairs.source, source.encode(TEXTS).pooled)
    assert np.array_equal(pairs.target, target.encode(TEXTS).pooled)
    count = sum(len(ids) for ids in target.tokenizer.encode(TEXTS))
    assert [part.shape for part in (pairs.tokens.source, pairs.tokens.words, pairs.tokens.target)] == [
        (count, 128),
        (count, 128),
        (count, 64),
    ]


def test_texts_whose_tokens_do_not_line_up_give_pooled_vectors_only(source, target):
    ids = match_tokens(source, target)
    ids[source.tokenizer.encode(["d"])[0][1]] += 1
    (pairs,) = canonical_pairs(source, target, ["d"], ids)
    assert pairs.tokens is None
    (pairs,) = canonical_pairs(source, target, TEXTS, ids)
    lost = len(target.tokenizer.encode(["d"])[0])
    assert len(pairs.tokens.source) == sum(len(one) for one in target.tokenizer.encode(TEXTS)) - lost


def test_nothing_gives_nothing(source, target):
    assert list(canonical_pairs(source, target, [], match_tokens(source, target))) == []
