"""`zenso embed` and `zenso rerank`."""

import base64

import numpy as np
import pytest
from blake3 import blake3


def test_embed_json(zenso):
    found = zenso("embed", "The quick brown fox", "日本", "--json").json
    assert found["provenance"]["model"]["model_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert len(found["provenance"]["digest"]) == 64
    first, second = found["embeddings"]
    vector = np.array(first["vector"], "<i2")
    assert len(vector) == 384
    assert first["content_hash"] == blake3(vector.tobytes()).hexdigest()
    assert first["content_hash"] == "5d1e7902317e7b172fb6051cb02976fff635dbe51bb3af4fd24cf0a2bb2066fc"
    assert first["tokens"] == 6
    assert len(base64.b64decode(first["code"])) == 964
    assert second["text"] == "日本"


def test_embed_text(zenso):
    result = zenso("embed", "The quick brown fox")
    heading, numbers, digest = result.out.splitlines()
    assert heading == "The quick brown fox  (6 tokens)"
    assert numbers.endswith("… (384 numbers)")
    assert digest.strip().startswith("5d1e7902")


def test_embed_many_lines_to_a_file(zenso):
    # A blank line has nothing to embed; a carriage return belongs to no text.
    lines = b"first line\r\n\r\nsecond line\nthird"
    result = zenso("embed", "--from", "-", "--output", "v.npy", stdin=lines)
    assert result.out == "3 vectors of 384 numbers in v.npy\n"
    vectors = np.load(zenso.place / "v.npy")
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.dtype("<i2"))
    (zenso.place / "lines.txt").write_bytes(lines)
    found = zenso("embed", "--from", "lines.txt", "--json").json["embeddings"]
    assert [row["line"] for row in found] == [1, 3, 4]
    assert np.array_equal(np.array([row["vector"] for row in found]), vectors)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "text 1 is empty"),
        (["one", " \t\n"], "text 2 is only white space"),
        ([], "no texts; give them as arguments"),
        (["one", "--from", "-"], "both as arguments and with --from"),
        (["--from", "missing.txt"], "missing.txt: no such file"),
        (["--from", "."], ". cannot be read"),
        (["--from", "-"], "standard input holds no text"),
        (["one", "--dimensions", "768"], "dimensions is 768; dense vectors have 384, 1920, 3840, 7680"),
        (["one", "-o", "v.csv"], "does not end in .npy"),
        (["one", "-o", "no/such/v.npy"], "no/such/v.npy cannot be written"),
    ],
)
def test_embed_of_what_cannot_be(zenso, arguments, said):
    result = zenso("embed", *arguments, code=1)
    assert result.is_one_error_line
    assert said in result.err
    assert result.out == ""


def test_rerank(zenso):
    candidates = ["Bread needs flour.", "Dogs bark at night.", "The sea is salty."]
    found = zenso("rerank", "animals", *candidates, "--json").json
    assert next(hit["text"] for hit in found["results"]) == candidates[1]
    assert sorted(hit["index"] for hit in found["results"]) == [0, 1, 2]
    lines = "\n\n".join(candidates).encode()
    (best,) = zenso("rerank", "animals", "--from", "-", "-n", "1", "--json", stdin=lines).json["results"]
    assert (best["index"], best["line"], best["rank"]) == (1, 3, 1)
    shown = zenso("rerank", "animals", *candidates, "--top-n", "1").out.splitlines()
    assert shown[0].startswith("1. candidate 2  ")
    assert shown[1:] == ["   Dogs bark at night."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["query"], "no candidates"), (["query", "one", ""], "candidate 1 is empty"), (["", "one"], "empty")],
)
def test_rerank_of_what_cannot_be(zenso, arguments, said):
    result = zenso("rerank", *arguments, code=1)
    assert result.is_one_error_line
    assert said in result.err


def test_embed_dense(zenso):
    said = "The quick brown fox"
    documents = zenso("embed", said, "--dimensions", 1920, "--json").json
    queries = zenso("embed", said, "--dimensions", 1920, "--query", "--json").json
    first, second = (found["embeddings"][0]["vector"] for found in (documents, queries))
    assert len(first) == len(second) == 1920
    assert first != second
    assert documents["provenance"]["code"] == "dense/1"
    assert "code" not in documents["embeddings"][0]


def test_embed_dense_to_a_file(zenso):
    result = zenso("embed", "The quick brown fox", "--dimensions", 3840, "-o", "v.npy")
    assert result.out == "1 vectors of 3,840 numbers in v.npy\n"
    assert np.load(zenso.place / "v.npy").shape == (1, 3840)
