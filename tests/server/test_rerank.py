"""Reranking in each dialect; what vendors' own clients make of it is in test_vendor_clients.py."""

import pytest

import zenso
from zenso.rerank import ZenReranker
from zenso.zen import load_encoder

QUERY = "how to read a date"


@pytest.fixture(scope="module")
def documents(texts):
    return list(texts.values())


@pytest.fixture(scope="module")
def expected(documents):
    return ZenReranker().rerank(QUERY, documents)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_documents_are_answered_as_jina_and_vllm_do(client, documents, expected, path):
    answer = client.post(path, json={"query": QUERY, "documents": documents, "model": "jina"}).json()
    assert answer["model"] == "all-MiniLM-L6-v2"
    assert answer["object"] == "list"
    assert answer["results"] == [
        {"index": one.index, "relevance_score": one.score, "document": {"text": one.text}} for one in expected
    ]
    read = load_encoder().encode_dense([QUERY, *documents]).token_counts.sum()
    assert answer["usage"] == {"prompt_tokens": read, "total_tokens": read}


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_texts_are_answered_as_tei_does(client, documents, expected, path):
    body = {"query": QUERY, "texts": documents, "truncate": True}
    assert client.post(path, json=body).json() == [{"index": one.index, "score": one.score} for one in expected]
    answer = client.post(path, json={**body, "raw_scores": True, "return_text": True}).json()
    assert answer == [{"index": one.index, "score": one.evidence, "text": one.text} for one in expected]


def test_documents_may_be_objects_and_the_best_may_do(client, documents, expected):
    body = {"query": QUERY, "documents": [{"text": documents[0], "id": 7}, *documents[1:]]}
    best = client.post("/rerank", json={**body, "top_n": 2, "return_documents": False}).json()["results"]
    assert best == [{"index": one.index, "relevance_score": one.score} for one in expected[:2]]
    assert len(client.post("/rerank", json={**body, "top_n": 0}).json()["results"]) == len(documents)


def test_cohere_counts_searches_and_returns_text_when_asked(client, documents, expected):
    answer = client.post("/v2/rerank", json={"query": QUERY, "documents": documents, "return_documents": True}).json()
    assert answer["results"][0]["document"] == {"text": expected[0].text}
    assert answer["meta"]["api_version"] == {"version": "2"}
    many = client.post("/v2/rerank", json={"query": "a", "documents": ["b"] * 101}).json()
    assert many["meta"]["billed_units"] == {"search_units": 2}


def test_documents_are_read_as_far_as_asked(client):
    beginning = "The harbour was quiet. " * 2 + "The"  # 11 tokens
    body = {"query": QUERY, "documents": [f"{beginning} {'harbour ' * 50} {QUERY}"], "max_tokens_per_doc": 11}
    [cut] = client.post("/v2/rerank", json=body).json()["results"]
    assert cut["relevance_score"] == ZenReranker().rerank(QUERY, [beginning])[0].score


def test_words_weigh_as_a_memory_has_them(client, tmp_path, texts, documents):
    with zenso.open(tmp_path / "notes.zenso") as memory:  # as the server's
        memory.add(list(texts.values()), ids=list(texts))
        expected = ZenReranker(memory=memory).rerank("water and salt", documents)
    body = {"query": "water and salt", "documents": documents, "memory": "notes"}
    results = client.post("/v2/rerank", json=body).json()["results"]
    assert [(one["index"], one["relevance_score"]) for one in results] == [(one.index, one.score) for one in expected]


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_pairs_are_scored_as_vllm_does(client, documents, expected, names):
    answer = client.post("/v1/score", json=dict(zip(names, (QUERY, documents), strict=True))).json()
    scores = {one.index: one.score for one in expected}
    assert answer["data"] == [
        {"index": index, "object": "score", "score": scores[index]} for index in range(len(documents))
    ]
    assert answer["usage"]["total_tokens"] > 0


def test_each_text_may_have_a_query_of_its_own(client, documents):
    queries = [QUERY, "bread", QUERY, "France", "bread"]
    answer = client.post("/score", json={"text_1": queries, "text_2": documents}).json()
    expected = [
        ZenReranker().rerank(*pair)[0].score for pair in zip(queries, ([one] for one in documents), strict=True)
    ]
    assert [row["score"] for row in answer["data"]] == expected


def test_half_characters_are_replaced(client):
    answer = client.post(
        "/rerank", content=b'{"query": "a", "documents": ["b \\ud800"]}', headers={"content-type": "application/json"}
    )
    assert answer.json()["results"][0]["document"] == {"text": "b \ufffd"}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/rerank", {"query": "a"}, 422, {"detail": "documents: Field required"}),
        ("/rerank", {"query": "a", "documents": ["b", " "]}, 422, {"detail": "documents.1: is empty or only white"}),
        ("/rerank", {"query": "a", "documents": ["b"] * 1001}, 422, {"detail": "documents: List should have at most"}),
        ("/rerank", {"query": "a", "documents": ["b"], "memory": "x"}, 404, {"detail": "there is no memory 'x'"}),
        ("/rerank", {"query": "a", "texts": []}, 422, {"error": "texts: List should", "error_type": "Validation"}),
        ("/rerank", {"texts": ["b"]}, 422, {"error": "query: Field required", "error_type": "Validation"}),
        ("/v2/rerank", {"query": " ", "documents": ["b"]}, 422, {"message": "query: is empty or only white space"}),
        ("/v2/rerank", {"query": "a", "documents": [1]}, 422, {"message": "documents.0: Input should be a valid"}),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, 400, {"error": "text_1 has 2 texts and text_2 has 1"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_the_dialect_of_who_asks(client, path, body, status, said):
    answer = client.post(path, json=body)
    assert answer.status_code == status
    error = answer.json()
    assert set(error) == set(said)
    for name, beginning in said.items():
        found = error[name]["message"] if isinstance(error[name], dict) else error[name]
        assert found.startswith(beginning)
