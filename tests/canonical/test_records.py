import contextlib
import json

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from zenso.canonical import CanonicalEmbedding, ModelProvenance, chunk_id, model_hash, rank, similarity
from zenso.errors import InputError, IntegrityError, ModelError

MODEL = ModelProvenance("a/b", model_hash("a/b").hex(), "11", "22", "33", "44", 1)
OTHER = ModelProvenance("a/c", model_hash("a/c").hex(), "11", "22", "33", "44", 1)
REBUILT = ModelProvenance("a/b", model_hash("a/b").hex(), "11", "22", "33", "55", 1)
RETRAINED = ModelProvenance("a/b", model_hash("a/b").hex(), "12", "22", "34", "44", 1)

vectors = stn.arrays(np.int16, st.integers(1, 40), elements=st.integers(-32767, 32767))
embeddings = st.builds(
    CanonicalEmbedding,
    st.binary(min_size=16, max_size=16),
    vectors,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


def record(text="t", vector=(3, -4), provenance=MODEL):
    return CanonicalEmbedding.of(chunk_id("d", 0, text), np.array(vector, np.int16), provenance)


@given(embeddings)
def test_round_trips(embedding):
    data, text = embedding.to_bytes(), embedding.to_json()
    assert len(data) == 208 + 2 * len(embedding.vector)
    for again in (CanonicalEmbedding.from_bytes(data), CanonicalEmbedding.from_json(text)):
        assert again == embedding
        assert hash(again) == hash(embedding)
        assert (again.to_bytes(), again.to_json()) == (data, text)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


@given(embeddings, st.data())
def test_a_changed_byte_is_found(embedding, data):
    good = embedding.to_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError):
        CanonicalEmbedding.from_bytes(bytes(bad))


@given(embeddings, st.data())
def test_what_is_read_is_written_the_same(embedding, data):
    """Also with a right checksum, whatever is accepted has this one form."""
    body = bytearray(embedding.to_bytes()[:-32])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    written = bytes(body) + blake3(bytes(body)).digest()
    with contextlib.suppress(IntegrityError):
        assert CanonicalEmbedding.from_bytes(written).to_bytes() == written


@given(st.one_of(st.binary(max_size=400), embeddings.map(lambda e: e.to_bytes()[:-1]), st.just(b"ZENSOEMB" * 40)))
def test_bytes_that_are_no_record(data):
    with pytest.raises(IntegrityError):
        CanonicalEmbedding.from_bytes(data)


def test_every_cut_and_every_byte_more():
    good = record().to_bytes()
    for data in (*(good[:end] for end in range(len(good))), good + b"\x00", b"\x00" + good):
        with pytest.raises(IntegrityError):
            CanonicalEmbedding.from_bytes(data)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (8, b"\x02", "version 2"),
        (12, b"\x03", "width of 3"),
        (16, b"\x00\x00", "chunk and model give"),
        (80, b"\x00\x00", "content hash"),
        (176, b"\x00\x80", "-32768"),
    ],
)
def test_what_does_not_follow_is_refused_though_the_checksum_is_right(offset, value, message):
    body = bytearray(record().to_bytes()[:-32])
    body[offset : offset + len(value)] = value
    with pytest.raises(IntegrityError, match=message):
        CanonicalEmbedding.from_bytes(bytes(body) + blake3(bytes(body)).digest())


def test_layout():
    embedding = record()
    data = embedding.to_bytes()
    assert data[:16] == b"ZENSOEMB\x01\x00\x00\x00\x02\x00\x00\x00"
    assert data[16:32] == embedding.id.bytes
    assert data[32:48] == embedding.chunk_id
    assert data[48:80] == bytes.fromhex(MODEL.model_hash)
    assert data[80:112] == embedding.content_hash == blake3(b"\x03\x00\xfc\xff").digest()
    assert data[112:176] == MODEL.space + MODEL.digest
    assert data[176:180] == b"\x03\x00\xfc\xff"


@pytest.mark.parametrize(
    "change",
    [
        {"vector": [1.5, 2]},
        {"vector": [True, 2]},
        {"vector": [40000, 2]},
        {"vector": [10**30, 2]},
        {"vector": []},
        {"vector": [3, -5]},
        {"vector": "34"},
        {"id": "no"},
        {"id": 5},
        {"id": "588eb8b7-af8a-5b72-9edf-e0b6ba6194f3"},
        {"chunk_id": "00"},
        {"chunk_id": "G" * 32},
        {"chunk_id": "A" * 32},
        {"space": None},
        {"format": "zenso-embedding/2"},
        {"more": 1},
    ],
)
def test_json_that_is_no_record(change):
    with pytest.raises(IntegrityError):
        CanonicalEmbedding.from_json(json.dumps(json.loads(record().to_json()) | change))


@pytest.mark.parametrize("text", ["", "[]", "{}", "nul", "[" * 100_000, "NaN", '{"a":1,"a":1}', "1" * 10_000])
def test_text_that_is_no_record(text):
    for read in (CanonicalEmbedding.from_json, ModelProvenance.from_json):
        with pytest.raises(IntegrityError):
            read(text)


@pytest.mark.parametrize(
    "vector", [[1], np.zeros(0, np.int16), np.zeros((1, 2), np.int16), np.zeros(2, np.int32), np.array([-32768], "i2")]
)
def test_vectors_that_cannot_be(vector):
    with pytest.raises(InputError):
        CanonicalEmbedding.of(chunk_id("d", 0, "t"), vector, MODEL)


def test_the_vector_is_a_copy_that_cannot_be_changed():
    given_vector = np.array([3, -4], np.int16)
    embedding = record(vector=given_vector)
    given_vector[0] = 9
    assert embedding.vector.tolist() == [3, -4]
    with pytest.raises(ValueError, match="read-only"):
        embedding.vector[0] = 1


def test_similarity_does_not_overflow():
    full = np.full(65_536, 32767)
    assert similarity(record(vector=full), record(vector=-full)) == -65_536 * 32767**2


def test_models_are_never_mixed():
    for other in (record(provenance=OTHER), record(provenance=RETRAINED), record(vector=(1, 2, 3))):
        with pytest.raises(ModelError, match="different"):
            similarity(record(), other)
        with pytest.raises(ModelError):
            rank(record(), [record("u"), other])


def test_builds_of_one_kernel_may_be_compared():
    assert REBUILT.digest != MODEL.digest
    assert similarity(record(), record(provenance=REBUILT)) == 25


def test_rank_breaks_ties_by_id():
    query = record("q", (1, 0))
    same = [record(str(n), (5, n)) for n in range(20)]
    best = record("best", (6, 0))
    ranked = rank(query, [*same, best])
    assert ranked[0] == (best, 6)
    assert [pair[0] for pair in ranked[1:]] == sorted(same, key=lambda one: one.id.bytes)


def test_provenance_round_trip():
    assert ModelProvenance.from_json(MODEL.to_json()) == MODEL


@pytest.mark.parametrize(
    "change",
    [{"version": True}, {"version": "1"}, {"weights": 1}, {"more": 1}, {"model_hash": "00"}, {"model_id": "\ud800"}],
)
def test_provenance_that_is_none(change):
    changed = json.dumps(json.loads(MODEL.to_json()) | change, sort_keys=True, separators=(",", ":"))
    with pytest.raises(IntegrityError):
        ModelProvenance.from_json(changed)


def test_provenance_has_one_form():
    with pytest.raises(IntegrityError, match="canonical"):
        ModelProvenance.from_json(MODEL.to_json() + " ")
