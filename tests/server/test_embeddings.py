import base64

import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from zenso.canonical import Role
from zenso.zen import load_encoder


@pytest.fixture(scope="module")
def openai(server):
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("dimensions", [384, 1920, 3840, 7680])
def test_the_openai_client_gets_what_the_library_gives(openai, texts, dimensions):
    answer = openai.embeddings.create(model="all-MiniLM-L6-v2", input=list(texts.values()), dimensions=dimensions)
    expected = load_encoder().encode_dense(list(texts.values()), dimensions)
    np.testing.assert_array_equal(np.array([row.embedding for row in answer.data], np.float32), expected.floats)
    assert answer.usage.total_tokens == expected.token_counts.sum()
    assert [row.index for row in answer.data] == list(range(len(texts)))


def test_floats_and_base64_are_the_same_numbers(openai, texts):
    floats = openai.embeddings.create(model="x", input=texts["bread"], encoding_format="float").data[0].embedding
    text = openai.embeddings.create(model="x", input=texts["bread"], encoding_format="base64").data[0].embedding
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), np.array(floats, np.float32))


def test_token_ids_are_texts(openai, texts):
    encoder = load_encoder()
    ids = [encoder.word_tokens([texts[name]])[0].tolist() for name in ("bread", "whale")]
    by_ids = openai.embeddings.create(model="x", input=ids)
    by_texts = openai.embeddings.create(model="x", input=[texts["bread"], texts["whale"]])
    assert [row.embedding for row in by_ids.data] == [row.embedding for row in by_texts.data]
    assert openai.embeddings.create(model="x", input=ids[0]).data[0].embedding == by_ids.data[0].embedding


def test_queries_have_vectors_of_their_own(client, texts):
    body = {"input": texts["bread"], "dimensions": 1920, "input_type": "query"}
    vector = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    expected = load_encoder().encode_dense([texts["bread"]], 1920, role=Role.QUERY).floats[0]
    np.testing.assert_array_equal(np.array(vector, np.float32), expected)


def test_two_thousand_texts_at_once(client):
    rows = client.post("/v1/embeddings", json={"input": [f"text {n % 7}" for n in range(2048)]}).json()["data"]
    assert len(rows) == 2048
    assert rows[7]["embedding"] == rows[0]["embedding"]
    assert client.post("/v1/embeddings", json={"input": ["a"] * 2049}).status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"input": " "}, 400, "text 0 is empty or only white space"),
        ({"input": [[1, 99_999]]}, 400, "token id 99999 is not of this model"),
        ({"input": []}, 422, "input"),
        ({"input": "a", "dimensions": 100}, 422, "dimensions"),
        ({}, 422, "input: Field required"),
    ],
)
def test_what_is_wrong_is_named_as_openai_does(client, body, status, said):
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_errors_reach_the_client_as_its_own(openai):
    with pytest.raises(BadRequestError, match="only white space"):
        openai.embeddings.create(model="x", input="")
    with pytest.raises(NotFoundError, match="no model 'gpt'"):
        openai.models.retrieve("gpt")


def test_models_are_listed(openai):
    assert [model.id for model in openai.models.list()] == ["all-MiniLM-L6-v2"]
    assert openai.models.retrieve("all-MiniLM-L6-v2").owned_by == "zenso"


def test_a_request_does_not_make_the_server_fetch_a_model(client):
    answer = client.post("/v1/embeddings", json={"input": "a", "model": "bge-m3"})
    assert answer.status_code == 404
    assert "bge-m3 is not served here" in answer.json()["error"]["message"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "get_text_embedding", "params": {"text": "a", "model": "bge-m3"}}
    assert "not served here" in client.post("/rpc", json=body).json()["error"]["message"]
