import json
from dataclasses import asdict

import pytest

import zenso
from zenso.rerank import ZenReranker

QUERY = "What does bread need?"


@pytest.fixture(scope="module")
def memory(tmp_path_factory, texts):
    """The documents of the server, in a memory of the library."""
    with zenso.open(tmp_path_factory.mktemp("library") / "notes.zenso") as memory:
        memory.add(list(texts.values()), ids=list(texts), metadata=[{"letters": len(text)} for text in texts.values()])
        yield memory


@pytest.fixture
def find(client, texts):
    """Search over the documents that the memory has too."""

    def find(**body):
        answer = client.post("/v1/search", json={"where": {"$ids": list(texts)}, **body})
        answer.raise_for_status()
        return answer.json()

    return find


def hits_of(answer):
    names = ("id", "score", "text", "metadata", "similarity")
    return [{name: hit[name] for name in names} for hit in answer["hits"]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 2},
        {"hybrid": False},
        {"hybrid": False, "dimensions": 1920},
        {"dimensions": "auto"},
        {"where": {"letters": {"$gte": 40}}},
    ],
)
def test_hits_are_those_of_the_library(find, memory, options):
    assert hits_of(find(query=QUERY, **options)) == [asdict(hit) for hit in memory.search(QUERY, **options)]


def test_a_search_by_address_is_the_same(client, find):
    query = {"q": QUERY, "k": 2, "where": json.dumps({"letters": {"$gte": 40}}), "hybrid": False}
    answer = client.get("/v1/search", params=query)
    assert answer.json() == find(query=QUERY, k=2, where={"letters": {"$gte": 40}}, hybrid=False)


def test_a_vector_finds_what_it_is_near(find, memory, texts):
    vector = memory.vectors("bread")["bread"]
    answer = find(vector=vector.tolist())
    assert hits_of(answer) == [asdict(hit) for hit in memory.search_vector(vector.astype(float))]
    assert answer["hits"][0]["id"] == "bread"


@pytest.mark.parametrize("by", ["text", "codes"])
def test_a_rerank_is_that_of_the_library(find, memory, by):
    answer = find(query=QUERY, k=4, rerank={"by": by, "top_n": 2}, explain=True)
    hits = memory.search(QUERY, 4)
    expected = ZenReranker(memory=memory).rerank(QUERY, hits, 2, from_codes=by == "codes", explain=True)
    assert [(hit["id"], hit["score"], hit["search_score"]) for hit in answer["hits"]] == [
        (result.candidate.id, result.score, result.candidate.score) for result in expected
    ]
    passages = [result.explanation and asdict(result.explanation) for result in expected]
    assert [hit["passage"] for hit in answer["hits"]] == json.loads(json.dumps(passages))


def test_an_explanation_names_the_stages(find, memory, texts):
    explained = find(query=QUERY, explain=True)["explanation"]
    expected = memory.search(QUERY, explain=True).explanation
    assert [stage["name"] for stage in explained["stages"]] == [stage.name for stage in expected.stages]
    last = explained["stages"][-1]
    assert [one["id"] for one in last["candidates"]] == [one.id for one in expected.stages[-1].candidates]
    assert last["left"] == len(texts)
    assert find(query=QUERY)["explanation"] is None


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "there is no query"),
        ({"query": " "}, 400, "only white space"),
        ({"query": "a", "vector": [1.0]}, 400, "`query` does not go with `vector`"),
        ({"vector": [1.0], "explain": True}, 400, "`explain` does not go with `vector`"),
        ({"vector": [1.0] * 3}, 400, "the vector has 3 numbers, the documents' have 384"),
        ({"vector": [0.0] * 384}, 400, "it has no direction"),
        ({"vector": []}, 422, "vector: List should have at least 1 item"),
        ({"query": "a", "k": 0}, 422, "k: Input should be greater than or equal to 1"),
        ({"query": "a", "k": "5"}, 422, "k: Input should be a valid integer"),
        ({"query": "a", "dimensions": 384}, 422, "dimensions"),
        ({"query": "a", "rerank": {"by": "magic"}}, 422, "rerank.by"),
        ({"query": "a", "where": {"x": {"$gt": True}}}, 400, "only numbers and texts have an order"),
        ({"query": "a", "where": {"x": 2**70}}, 400, "64 bits"),
        ({"query": "a", "memory": "none"}, 404, "there is no memory 'none'; there are: notes"),
    ],
)
def test_what_cannot_be_searched_for_is_named(client, body, status, said):
    answer = client.post("/v1/search", json=body)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True)


def test_a_method_that_a_route_does_not_have_is_told_the_others(client):
    answer = client.put("/v1/search")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
