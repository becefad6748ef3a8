import numpy as np
import pytest

from zenso.canonical import Role
from zenso.server.access import needed_scope
from zenso.server.keys import Scope
from zenso.zen import load_encoder


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_texts_are_embedded_in_their_order(client, texts, path):
    rows = client.post(path, json={"inputs": list(texts.values()), "truncate": True, "normalize": True}).json()
    expected = load_encoder().encode_dense(list(texts.values())).floats
    np.testing.assert_array_equal(np.array(rows, np.float32), expected)


def test_one_text_and_token_ids_are_taken(client, texts):
    ids = load_encoder().word_tokens([texts["whale"]])[0].tolist()
    by_text = client.post("/embed", json={"inputs": texts["whale"]}).json()
    assert client.post("/embed", json={"inputs": ids}).json() == by_text
    assert len(by_text) == 1


def test_queries_have_vectors_of_their_own(client, texts):
    body = {"inputs": texts["bread"], "dimensions": 1920, "prompt_name": "query"}
    [vector] = client.post("/embed", json=body).json()
    expected = load_encoder().encode_dense([texts["bread"]], 1920, role=Role.QUERY).floats[0]
    np.testing.assert_array_equal(np.array(vector, np.float32), expected)


def test_long_texts_are_cut_unless_that_is_refused(client):
    body = {"inputs": ["bread", "water " * 300]}
    assert len(client.post("/embed", json=body).json()) == 2
    answer = client.post("/embed", json={**body, "truncate": False})
    assert answer.status_code == 413
    assert answer.json() == {
        "error": "text 1 has 302 tokens, and 256 are read; leave `truncate` out to have it cut",
        "error_type": "Validation",
    }


def test_half_characters_are_replaced(client):
    body = b'{"inputs": "a \\ud800", "truncate": false}'
    answer = client.post("/embed", content=body, headers={"Content-Type": "application/json"})
    assert answer.json() == client.post("/embed", json={"inputs": "a \ufffd"}).json()


def test_sentences_are_compared(client, texts):
    source, *others = texts.values()
    body = {"inputs": {"source_sentence": source, "sentences": others}, "parameters": {}}
    whole = load_encoder().encode_dense([source, *others]).vectors.astype(np.int64)
    assert client.post("/similarity", json=body).json() == (whole[1:] @ whole[0] / 32767**2).tolist()


def test_the_model_and_the_limits_are_described(client):
    info = client.get("/info").json()
    assert info["model_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert info["model_sha"] == load_encoder().canonical.artifact.digest.hex()
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert info["max_input_length"] == 256
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/", "/embed", "/similarity", "/rerank"])
def test_a_key_that_may_only_read_is_enough(path):
    assert needed_scope("POST", path) is Scope.READ


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"inputs": ["a", " "]}, 400, "text 1 is empty or only white space"),
        ({"inputs": "a", "normalize": False}, 400, "normalize is false"),
        ({"inputs": [[99_999]]}, 400, "token id 99999 is not of this model"),
        ({"inputs": "a", "prompt_name": "poem"}, 422, "prompt_name: Input should be 'query' or 'document'"),
        ({}, 422, "inputs: Field required"),
    ],
)
def test_what_is_wrong_is_named_as_tei_does(client, body, status, said):
    answer = client.post("/embed", json=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(said)
    assert answer.json()["error_type"] == "Validation"
