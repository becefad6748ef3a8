"""docs/vectors/canonical_embedding.json says what this implementation gives, and docs/canonical.md quotes it."""

import hashlib
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from zenso.bitdelta import encode_slots
from zenso.canonical import CanonicalEmbedding, Want
from zenso.zen.slot_artifact import load_slot_artifact

DOCS = Path(__file__).parents[2] / "docs"
FILE = json.loads((DOCS / "vectors" / "canonical_embedding.json").read_text("utf-8"))
CASES = FILE["cases"]


@pytest.fixture(scope="module")
def encoded(encoder):
    return encoder.encode([case["text"] for case in CASES], Want.POOLED | Want.TOKENS)


@pytest.fixture(scope="module")
def slots():
    return load_slot_artifact("all-MiniLM-L6-v2")


def test_provenance_is_that_of_this_implementation(encoder):
    again = "run python scripts/write_vectors.py"
    assert FILE["provenance"] == json.loads(encoder.provenance.to_json()), again
    assert FILE["provenance_digest"] == encoder.provenance.digest.hex(), again
    assert FILE["space"] == encoder.provenance.space.hex(), again


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_inference(encoded, slots, index):
    case = CASES[index]
    assert encoded.ids[index].tolist() == case["token_ids"]
    assert blake3(encoded.tokens[index].astype("<i2").tobytes()).hexdigest() == case["states_blake3"]
    assert encoded.pooled[index].tolist() == case["vector"]
    weights = slots.token_weights[encoded.ids[index]]
    code = encode_slots(encoded.pooled[index : index + 1], [encoded.tokens[index]], [weights], slots.basis)
    assert code.tobytes().hex() == case["code"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_identifiers_as_the_documentation_says_them(case):
    """From the file alone, with nothing of Zenso."""
    document, text = case["document_id"].encode(), case["text"].encode()
    framed = len(document).to_bytes(4, "little") + document + case["sequence"].to_bytes(4, "little") + text
    chunk = blake3(framed).digest()[:16]
    model = blake3(FILE["provenance"]["model_id"].lower().encode()).digest()
    name = hashlib.sha1(uuid.UUID(FILE["embedding_namespace"]).bytes + chunk + model).digest()
    vector = b"".join(number.to_bytes(2, "little", signed=True) for number in case["vector"])
    assert chunk.hex() == case["chunk_id"]
    assert str(uuid.UUID(bytes=name[:16], version=5)) == case["embedding_id"]
    assert blake3(vector).hexdigest() == case["content_hash"]

    content = blake3(vector).digest()
    record = b"ZENSOEMB" + (1).to_bytes(4, "little") + len(case["vector"]).to_bytes(4, "little")
    record += uuid.UUID(case["embedding_id"]).bytes + chunk + model + content
    record += bytes.fromhex(FILE["space"]) + bytes.fromhex(FILE["provenance_digest"]) + vector
    record += blake3(record).digest()
    assert blake3(record).hexdigest() == case["record_blake3"]
    assert CanonicalEmbedding.from_bytes(record).vector.tolist() == case["vector"]


def test_every_vector_has_unit_length():
    for case in CASES:
        assert abs(np.linalg.norm(case["vector"]) - 32767) < 10


def test_the_documentation_quotes_the_file():
    text = (DOCS / "canonical.md").read_text("utf-8")
    hello, fox = CASES[0], CASES[1]
    assert (hello["text"], fox["text"]) == ("Hello, world!", "The quick brown fox")
    assert f"`{hello['token_ids']}`" in text
    assert f"`{fox['vector'][:8]}`" in text
    assert f"`{FILE['provenance']['model_hash']}`" in text
    assert FILE["embedding_namespace"] in text
