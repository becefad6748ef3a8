"""Texts to vectors: the same bits whatever the grouping, and vectors that mean something."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenso.canonical import CanonicalEncoder, SlotRule, Want
from zenso.errors import InputError, ModelError

TEXTS = [
    "x",
    "The quick brown fox",
    "Hello, world!",
    "Return a string of hexadecimal digits. " * 5,
    "word " * 300,  # more than the model reads
    "日本語 and emoji 🦄 and \udcff",
    "مرحبا بالعالم",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 2,
    "Ring the bells that still can ring.",
]
EVERYTHING = (Want.POOLED | Want.TOKENS | Want.DOCUMENT_SLOTS, Want.POOLED | Want.TOKENS | Want.QUERY_SLOTS)


def marks(encoder, texts, want, rule):
    """Digest of all the bits of each text."""
    encoded = encoder.encode(texts, want, slots=rule)
    parts = zip(encoded.ids, encoded.pooled, encoded.tokens, encoded.slots, strict=True)
    return [blake3(b"".join(array.tobytes() for array in part)).digest() for part in parts]


@pytest.fixture(scope="module", params=EVERYTHING, ids=["documents", "queries"])
def want(request):
    return request.param


@pytest.fixture(scope="module")
def alone(encoder, slot_rule, want):
    return [marks(encoder, [text], want, slot_rule)[0] for text in TEXTS]


def test_bits_do_not_depend_on_the_batch(encoder, slot_rule, want, alone):
    assert marks(encoder, TEXTS, want, slot_rule) == alone


@pytest.mark.parametrize("seed", range(2))
def test_bits_do_not_depend_on_the_order(encoder, slot_rule, want, alone, seed):
    order = random.Random(seed).sample(range(len(TEXTS)), len(TEXTS))
    assert marks(encoder, [TEXTS[i] for i in order], want, slot_rule) == [alone[i] for i in order]


def test_bits_do_not_depend_on_the_threads(threaded_encoder, slot_rule, want, alone):
    # Several batches, so that both instances work.
    assert marks(threaded_encoder, TEXTS * 2, want, slot_rule) == alone * 2


def test_bits_do_not_depend_on_who_else_uses_the_encoder(threaded_encoder, slot_rule, want, alone):
    orders = [random.Random(seed).sample(range(len(TEXTS)), len(TEXTS)) for seed in range(4)]
    with ThreadPoolExecutor(len(orders)) as pool:
        work = [pool.submit(marks, threaded_encoder, [TEXTS[i] for i in o], want, slot_rule) for o in orders]
    for order, result in zip(orders, work, strict=True):
        assert result.result() == [alone[i] for i in order]


def test_bits_do_not_depend_on_what_else_is_wanted(encoder, slot_rule):
    everything = encoder.encode(TEXTS, EVERYTHING[0], slots=slot_rule)
    np.testing.assert_array_equal(encoder.encode(TEXTS).pooled, everything.pooled)
    for one, other in zip(encoder.encode(TEXTS, Want.TOKENS).tokens, everything.tokens, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(encoder.encode(TEXTS, Want.DOCUMENT_SLOTS, slots=slot_rule).slots, everything.slots)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=80).filter(str.strip), min_size=1, max_size=60))
def test_small_model_gives_the_same_bits_in_any_batch(small_artifact, texts):
    rule = SlotRule(np.eye(3, 64, dtype=np.int16) * 32767, np.arange(1, 1 + len(small_artifact.words), dtype=np.int32))
    single, double = (CanonicalEncoder(small_artifact, threads=n) for n in (1, 2))
    for want in EVERYTHING:
        batch = marks(single, texts, want, rule)
        assert batch == marks(double, texts, want, rule)
        assert batch == [marks(single, [text], want, rule)[0] for text in texts]


def test_vector_of_the_protocols_example_is_pinned(encoder):
    vector = encoder.encode(["The quick brown fox"]).pooled[0]
    assert vector[:8].tolist() == [99, 1091, -21, 1417, 1183, -1087, 1811, -3429]
    digest = blake3(vector.astype("<i2").tobytes()).hexdigest()
    assert digest == "5d1e7902317e7b172fb6051cb02976fff635dbe51bb3af4fd24cf0a2bb2066fc"
    in_float64 = np.array([91, 1090, -22, 1409, 1184, -1092, 1819, -3434])
    assert np.abs(vector[:8] - in_float64).max() <= 24


def test_near_words_are_near(encoder):
    words = ["dog", "puppy", "cat", "airplane"]
    vectors = dict(zip(words, encoder.encode(words).pooled.astype(np.int64), strict=True))
    puppy, cat, airplane = (int(vectors["dog"] @ vectors[word]) for word in words[1:])
    assert puppy > cat > airplane


def test_shapes_and_types(encoder, slot_rule):
    encoded = encoder.encode(TEXTS[:3], EVERYTHING[0], slots=slot_rule)
    assert [i.dtype for i in encoded.ids] == [np.int32] * 3
    assert (encoded.pooled.shape, encoded.pooled.dtype) == ((3, 384), np.int16)
    assert (encoded.slots.shape, encoded.slots.dtype) == ((3, 19, 384), np.int32)
    assert [t.shape for t in encoded.tokens] == [(len(i), 384) for i in encoded.ids]
    assert encoder.encode(TEXTS[:3]).tokens == []


def test_document_slots_are_unit_vectors_and_query_slots_are_sums(encoder, slot_rule):
    documents = encoder.encode(TEXTS, Want.DOCUMENT_SLOTS, slots=slot_rule).slots.astype(np.float64)
    assert np.abs(np.sqrt((documents**2).sum(axis=2)) - 32767).max() < 20
    queries = encoder.encode(TEXTS, Want.QUERY_SLOTS | Want.TOKENS, slots=slot_rule)
    for ids, tokens, slots in zip(queries.ids, queries.tokens, queries.slots, strict=True):
        weights = slot_rule.token_weights[ids].astype(np.int64)
        np.testing.assert_array_equal(slots.astype(np.int64).sum(axis=0), weights @ tokens.astype(np.int64))


def test_no_texts(encoder, slot_rule):
    encoded = encoder.encode([], EVERYTHING[0], slots=slot_rule)
    assert encoded.ids == encoded.tokens == []
    assert (encoded.pooled.shape, encoded.slots.shape) == ((0, 384), (0, 19, 384))


def test_more_texts_than_are_tokenized_at_once(small_artifact):
    texts = [("a " * (i % 7 + 1)) + "b" for i in range(5000)]
    done = []
    pooled = CanonicalEncoder(small_artifact, threads=2).encode(texts, on_progress=done.append).pooled
    assert sum(done) == len(pooled) == len(texts)
    np.testing.assert_array_equal(pooled[:4998], np.tile(pooled[:7], (714, 1)))


@pytest.mark.parametrize("count", [0, -1])
def test_threads_must_be_positive(small_artifact, count):
    with pytest.raises(InputError, match=f"threads is {count}; it must be at least 1"):
        CanonicalEncoder(small_artifact, threads=count)


def test_threads_are_the_processors_by_default(small_artifact):
    assert CanonicalEncoder(small_artifact).threads >= 1


def test_one_string_instead_of_a_list_is_an_error(encoder):
    with pytest.raises(InputError, match="texts is one str; pass a list of texts"):
        encoder.encode("text")


def test_an_empty_text_is_an_error_before_anything_runs(small_artifact):
    done = []
    with pytest.raises(InputError, match="text 1 is empty"):
        CanonicalEncoder(small_artifact, threads=1).encode(["a", " "], on_progress=done.append)
    assert done == []


def test_an_error_from_the_callers_callback_reaches_the_caller(small_artifact):
    encoder = CanonicalEncoder(small_artifact, threads=2)

    def stop(_):
        message = "enough"
        raise KeyboardInterrupt(message)

    with pytest.raises(KeyboardInterrupt, match="enough"):
        encoder.encode(["a b c"] * 2000, on_progress=stop)
    assert encoder.encode(["a"]).pooled.shape == (1, 64)


def test_an_instance_that_failed_is_not_used_again(small_artifact):
    encoder = CanonicalEncoder(small_artifact, threads=1)
    expected = encoder.encode(["a"]).pooled
    assert len(encoder._idle) == 1
    with pytest.raises(ModelError, match="status 1"):
        encoder._run([np.zeros(41, np.int32)], Want.POOLED, None)
    assert encoder._idle == []
    np.testing.assert_array_equal(encoder.encode(["a"]).pooled, expected)
