import asyncio

import pytest
from haystack import Document, Pipeline
from haystack.core.serialization import component_from_dict, component_to_dict

import zenso.integrations.haystack
from zenso.errors import InputError
from zenso.integrations.haystack import ZenRanker
from zenso.rerank import ZenReranker

TEXTS = ["Bread needs flour and water.", "A dog barks at night.", "Cats purr when they are content."]


@pytest.fixture
def documents():
    return [Document(id=str(n), content=text, meta={"n": n}) for n, text in enumerate(TEXTS)]


def test_public_names():
    assert zenso.integrations.haystack.__all__ == ["ZenRanker"]


def test_the_ranker_orders_documents(documents):
    ranker = ZenRanker(top_k=2)
    ranker.warm_up()
    best = ranker.run("what do cats do?", documents)["documents"]
    expected = ZenReranker().rerank("what do cats do?", TEXTS, 2)
    assert [(one.id, one.score, one.meta) for one in best] == [
        (str(r.index), r.score, {"n": r.index}) for r in expected
    ]
    assert all(document.score is None for document in documents)
    assert len(ranker.run("what do cats do?", documents, top_k=3)["documents"]) == 3
    assert ranker.run("what?", []) == {"documents": []}
    with pytest.raises(InputError, match="'empty' has no content"):
        ranker.run("what?", [Document(id="empty")])


def test_the_ranker_in_pipelines(documents):
    pipeline = Pipeline()
    pipeline.add_component("ranker", ZenRanker(top_k=1))
    asked = {"ranker": {"query": "what do cats do?", "documents": documents}}
    [best] = pipeline.run(asked)["ranker"]["documents"]
    assert best.id == "2"
    assert asyncio.run(pipeline.run_async(asked))["ranker"]["documents"] == [best]
    again = component_from_dict(ZenRanker, component_to_dict(ZenRanker(top_k=1), "ranker"), "ranker")
    assert (again.model, again.top_k) == ("all-MiniLM-L6-v2", 1)
