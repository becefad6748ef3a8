import numpy as np
import pytest

from zenso.canonical import Role
from zenso.zen import load_encoder


@pytest.fixture
def rpc(client):
    """Send what JSON can hold, or bytes."""

    def send(content):
        options = {"content": content} if isinstance(content, bytes) else {"json": content}
        answer = client.post("/rpc", headers={"Content-Type": "application/json"}, **options)
        assert answer.status_code == (200 if answer.content else 204)
        return answer.json() if answer.content else None

    return send


def call(method, params=None, call_id=1):
    return {"jsonrpc": "2.0", "id": call_id, "method": method, **({} if params is None else {"params": params})}


@pytest.mark.parametrize("name", ["get_text_embedding", "citrate_getTextEmbedding"])
def test_an_embedding_is_that_of_the_library(rpc, texts, name):
    expected = load_encoder().encode_dense([texts["bread"]]).floats[0]
    for params in ([texts["bread"]], {"text": texts["bread"]}):
        answer = rpc(call(name, params, "one"))
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", "one")
        np.testing.assert_array_equal(np.array(answer["result"], np.float32), expected)
    assert len(rpc(call(name, {"text": "a", "dimensions": 1920}))["result"]) == 1920


@pytest.mark.parametrize("name", ["semantic_search", "citrate_semanticSearch"])
def test_given_texts_are_ordered_by_cosine(rpc, texts, name):
    candidates = list(texts.values())
    found = rpc(call(name, ["capital of France", candidates, 2]))["result"]
    encoder = load_encoder()
    query = encoder.encode_dense(["capital of France"], role=Role.QUERY).vectors[0].astype(np.int64)
    dots = encoder.encode_vectors(candidates).astype(np.int64) @ query
    best = np.argsort(-dots, kind="stable")[:2]
    assert found == [[candidates[place], dots[place] / 32767**2] for place in best]
    assert rpc(call(name, ["a", []]))["result"] == []


def test_a_memory_is_searched_as_by_its_route(rpc, client, texts):
    where = {"$ids": list(texts)}
    found = rpc(call("semantic_search", {"query": "bread", "top_k": 2, "where": where}))["result"]
    assert found == client.post("/v1/search", json={"query": "bread", "k": 2, "where": where}).json()["hits"]


def test_a_batch_is_answered_in_its_order(rpc):
    batch = [
        call("get_text_embedding", ["one"], 1),
        {"jsonrpc": "2.0", "method": "get_text_embedding", "params": ["a notification"]},
        call("nothing", None, "2"),
        5,
        call("get_text_embedding", ["three"], None),
        {"jsonrpc": "2.0", "method": "nothing"},
    ]
    answers = rpc(batch)
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        (1, None),
        ("2", -32601),
        (None, -32600),
        (None, None),
    ]
    assert rpc(batch[1:2]) is None
    assert rpc(batch[1]) is None
    assert len(rpc([call("nothing")] * 100)) == 100


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"{", -32700, "no JSON"),
        (b"", -32700, "no JSON"),
        (b'{"jsonrpc": "2.0", "id": NaN, "method": "x"}', -32700, "no JSON"),
        (b"[" * 100_000, -32700, "recursion limit"),
        ([], -32600, "a batch of 0 calls"),
        ([call("x")] * 101, -32600, "a batch of 101 calls; send 1 to 100"),
        ("x", -32600, "a call is an object"),
        ({"id": 1, "method": "x"}, -32600, 'jsonrpc must be "2.0"'),
        ({"jsonrpc": "2.0", "id": 1}, -32600, "method must be a string"),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": 5}, -32600, "params must be"),
        (call("x", None, {}), -32600, "id must be a string, a number or null"),
        (call("x", None, True), -32600, "id must be a string, a number or null"),
        (call("x", None, 2**64), -32600, "id must fit in 64 bits"),
        (b'{"jsonrpc": "2.0", "id": 1e999, "method": "x"}', -32600, "id must be a finite number"),
        (call("x" * 5000), -32601, "there is no method 'xxx"),
        (call("get_text_embedding"), -32602, "text: Field required"),
        (call("get_text_embedding", ["a", 384, None, 4]), -32602, "4 parameters; there are text, dimensions, model"),
        (call("get_text_embedding", {"text": "a", "x": 1}), -32602, "x: Extra inputs"),
        (call("get_text_embedding", [" "]), -32602, "only white space"),
        (call("get_text_embedding", ["a", 100]), -32602, "dense vectors have 384"),
        (call("get_text_embedding", ["a", 384, "none"]), -32000, "none"),
        (call("semantic_search", {"query": "a", "memory": "none"}), -32000, "there is no memory 'none'"),
        (call("semantic_search", ["a", ["b", ""]]), -32602, "text 1 is empty"),
        (call("chat_completion", [[]]), -32602, "messages: List should have at least 1 item"),
        (call("chat_completion", [[{"role": "user", "content": "a"}]]), -32000, "no language model"),
    ],
)
def test_errors_have_the_codes_of_the_standard(rpc, content, code, said):
    error = rpc(content)["error"]
    assert (error["code"], said in error["message"]) == (code, True), error
    assert error["data"]["code"]
    assert len(error["message"]) <= 1000
