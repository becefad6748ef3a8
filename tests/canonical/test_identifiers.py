import hashlib
import uuid

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from zenso.canonical import EMBEDDING_NAMESPACE, chunk_id, content_hash, embedding_id, model_hash
from zenso.errors import InputError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_the_namespace_is_fixed():
    assert str(EMBEDDING_NAMESPACE) == "588eb8b7-af8a-5b72-9edf-e0b6ba6194f3"
    assert uuid.uuid5(uuid.NAMESPACE_URL, "urn:zenso:embedding:1") == EMBEDDING_NAMESPACE


def test_framing_of_a_chunk():
    framed = b"\x03\x00\x00\x00\xc3\xa9a\x07\x00\x00\x00text"
    assert chunk_id("éa", 7, "text") == blake3(framed).digest()[:16]


@given(st.tuples(texts, st.integers(0, 2**32 - 1), texts), st.tuples(texts, st.integers(0, 2**32 - 1), texts))
def test_other_chunks_have_other_ids(a, b):
    assert (chunk_id(*a) == chunk_id(*b)) == (a == b)


@pytest.mark.parametrize("bad", [("d", -1, "t"), ("d", 2**32, "t"), ("\ud800", 0, "t"), ("d", 0, "\udfff")])
def test_chunks_that_cannot_be(bad):
    with pytest.raises(InputError):
        chunk_id(*bad)


def test_content_hash_is_of_little_endian_bytes():
    vector = np.array([1, -2, 32767], np.int16)
    assert content_hash(vector) == blake3(b"\x01\x00\xfe\xff\xff\x7f").digest()
    assert content_hash(vector.astype(">i2")) == content_hash(vector)


def test_embedding_id_is_a_uuid_of_version_5():
    chunk, model = chunk_id("d", 0, "t"), model_hash("m")
    name = hashlib.sha1(EMBEDDING_NAMESPACE.bytes + chunk + model).digest()[:16]
    found = embedding_id(chunk, model)
    assert (found.version, found.variant) == (5, uuid.RFC_4122)
    assert found == uuid.UUID(bytes=name, version=5)
    with pytest.raises(InputError):
        embedding_id(chunk[:-1], model)
