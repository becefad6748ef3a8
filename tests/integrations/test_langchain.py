import asyncio
import threading

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.runnables import RunnableLambda

import zenso.integrations.langchain
from zenso.canonical import Role
from zenso.errors import InputError, ModelError
from zenso.integrations.langchain import ZenCompressor, ZenEmbeddings, ZenRetriever, ZenVectorStore
from zenso.memory import Memory
from zenso.rerank import ZenReranker

TEXTS = ["Bread needs flour and water.", "A dog barks at night.", "Cats purr when they are content."]
FIELDS = [
    {"n": 1, "lang": "en", "tags": ["food", "home"]},
    {"n": 2, "lang": "de"},
    {"n": 3, "lang": "fr", "tags": ["pets"], "title": "Über Katzen"},
]


@pytest.fixture
def store(memory):
    store = ZenVectorStore(memory)
    store.add_texts(TEXTS, FIELDS, ids=["bread", "dog", "cat"])
    return store


def test_public_names():
    assert zenso.integrations.langchain.__all__ == ["ZenCompressor", "ZenEmbeddings", "ZenRetriever", "ZenVectorStore"]


def test_embeddings_are_canonical_vectors(encoder):
    embeddings = ZenEmbeddings()
    vectors = np.array(embeddings.embed_documents(TEXTS))
    assert np.array_equal(np.rint(vectors * 32767), encoder.encode_vectors(TEXTS))
    assert embeddings.embed_query(TEXTS[0]) == vectors[0].tolist()
    assert embeddings.embed_documents([]) == []
    with pytest.raises(ModelError, match="no-such-model"):
        ZenEmbeddings("no-such-model")
    with pytest.raises(InputError, match="empty"):
        embeddings.embed_query("")


def test_dense_embeddings(encoder):
    embeddings = ZenEmbeddings(dimensions=1920)
    vectors = np.array(embeddings.embed_documents(TEXTS))
    assert np.array_equal(np.rint(vectors * 32767), encoder.encode_dense(TEXTS, 1920).vectors)
    query = encoder.encode_dense(TEXTS[:1], 1920, role=Role.QUERY).vectors[0]
    assert np.array_equal(np.rint(np.array(embeddings.embed_query(TEXTS[0])) * 32767), query)
    with pytest.raises(InputError, match="dimensions is 768"):
        ZenEmbeddings(dimensions=768)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"lang": "en"}, {"bread"}),
        ({"lang": {"$eq": "en"}}, {"bread"}),
        ({"lang": {"$ne": "en"}}, {"dog", "cat"}),
        ({"n": {"$gt": 2}}, {"cat"}),
        ({"n": {"$gte": 2}}, {"dog", "cat"}),
        ({"n": {"$lt": 2}}, {"bread"}),
        ({"n": {"$lte": 2}}, {"bread", "dog"}),
        ({"n": {"$gte": 2, "$lt": 3}}, {"dog"}),
        ({"n": {"$in": [1, 3]}}, {"bread", "cat"}),
        ({"n": {"$nin": [1, 3]}}, {"dog"}),
        ({"tags": "food"}, {"bread"}),
        ({"tags": {"$exists": False}}, {"dog"}),
        ({"title": {"$contains": "Katze"}}, {"cat"}),
        ({"title": {"$icontains": "ÜBER"}}, {"cat"}),
        ({"$and": [{"n": {"$gt": 1}}, {"lang": "fr"}]}, {"cat"}),
        ({"$or": [{"n": 1}, {"lang": "fr"}]}, {"bread", "cat"}),
        ({"$not": {"$or": [{"n": 1}, {"lang": "fr"}]}}, {"dog"}),
        ({"n": {"$not": {"$gt": 1}}}, {"bread"}),
        ({}, {"bread", "dog", "cat"}),
        (None, {"bread", "dog", "cat"}),
    ],
)
def test_filters(store, where, found):
    assert {document.id for document in store.similarity_search("animals", k=9, filter=where)} == found


def test_filters_and_arguments_that_make_no_sense(store):
    with pytest.raises(InputError, match=r"unknown operator '\$like' on 'lang'"):
        store.similarity_search("animals", filter={"lang": {"$like": "e%"}})
    with pytest.raises(InputError, match="give a dict"):
        store.similarity_search("animals", filter=lambda _: True)
    for search in (
        store.similarity_search,
        store.similarity_search_with_score,
        store.similarity_search_with_relevance_scores,
        store.max_marginal_relevance_search,
    ):
        with pytest.raises(InputError, match="'where' is not an argument"):
            search("animals", where={"lang": "en"})


def test_documents_without_an_id_get_one_of_their_content(memory):
    store = ZenVectorStore(memory)
    same_text = [Document(page_content="foo", metadata={"page": page}) for page in (1, 2)]
    ids = store.add_documents(same_text)
    assert len(set(ids)) == 2
    assert store.add_documents(same_text) == ids
    assert len(memory) == 2
    assert store.add_texts(["foo"]) != store.add_texts(["bar"])
    mixed = store.add_texts(["one", "two"], ids=["given", None])
    assert mixed[0] == "given"
    assert [document.page_content for document in store.get_by_ids(mixed)] == ["one", "two"]


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        (["ok", ""], {}, r"texts\[1\] is empty"),
        (["a", "b"], {"metadatas": [{}, {"when": {"year": 2020}}]}, r"metadata 'when' of texts\[1\] is of type dict"),
        (["a"], {"metadatas": [{"n": float("nan")}]}, "metadata 'n'"),
        (["a", "b"], {"metadatas": [{}]}, "1 metadatas and 2 ids for 2 texts"),
        (["a"], {"ids": ["x", "y"]}, "2 ids for 1 texts"),
        (["a"], {"ids": [7]}, r"ids\[0\] is 7"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_stored(memory, texts, arguments, message):
    store = ZenVectorStore(memory)
    with pytest.raises(InputError, match=message):
        store.add_texts(texts, **arguments)
    assert len(memory) == 0


def test_delete_without_ids_deletes_everything(store):
    assert store.delete([]) is True
    assert len(store.memory) == 3
    assert store.delete() is True
    assert len(store.memory) == 0


def test_scores(store):
    hits = store.memory.search("Does a dog bark?", k=3)
    found = store.similarity_search_with_score("Does a dog bark?", k=3)
    assert [(document.id, score) for document, score in found] == [(hit.id, hit.score) for hit in hits]
    relevant = store.similarity_search_with_relevance_scores("Does a dog bark?", k=3)
    assert [document.id for document, _ in relevant] == [hit.id for hit in hits]
    assert [score for _, score in relevant] == [min(max(hit.similarity, 0), 1) for hit in hits]
    similar = store.similarity_search_with_score("Does a dog bark?", k=3, hybrid=False)
    assert [score for _, score in similar] == sorted((hit.similarity for hit in hits), reverse=True)


def test_search_by_vector(store):
    vector = store.embeddings.embed_query("A dog barks at night.")
    assert [document.id for document in store.similarity_search_by_vector(vector, k=1)] == ["dog"]
    assert [found.id for found in store.similarity_search_by_vector(vector, filter={"lang": "en"})] == ["bread"]
    with pytest.raises(InputError, match="6 numbers"):
        store.similarity_search_by_vector([0.5] * 6)


def test_marginal_relevance(memory):
    store = ZenVectorStore(memory)
    store.add_texts(["A dog barks.", "A dog barks!", "The dog is barking.", "Trains are late."], ids=list("abcd"))
    near = [document.id for document in store.max_marginal_relevance_search("a barking dog", k=2, lambda_mult=1)]
    assert (
        near == [one.id for one in store.similarity_search_by_vector(store.embeddings.embed_query("a barking dog"))][:2]
    )
    diverse = store.max_marginal_relevance_search("a barking dog", k=2, lambda_mult=0)
    assert [document.id for document in diverse][1] == "d"
    by_vector = store.max_marginal_relevance_search_by_vector(
        store.embeddings.embed_query("a barking dog"), k=2, lambda_mult=0
    )
    assert by_vector == diverse
    assert len(store.max_marginal_relevance_search("dog", k=9, fetch_k=3)) == 3
    assert store.max_marginal_relevance_search("dog", filter={"n": 1}) == []


def test_retrievers_of_the_store(store):
    filtered = store.as_retriever(search_kwargs={"k": 2, "filter": {"n": {"$gte": 2}}})
    assert {document.id for document in filtered.invoke("bread")} == {"dog", "cat"}
    threshold = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5, "k": 3}
    )
    assert [document.id for document in threshold.invoke("bread of flour and water")] == ["bread"]
    assert [document.id for document in asyncio.run(threshold.ainvoke("bread of flour and water"))] == ["bread"]
    mmr = store.as_retriever(search_type="mmr", search_kwargs={"k": 3})
    assert len(mmr.invoke("animals")) == 3
    assert store.as_retriever().tags == ["ZenVectorStore", "ZenEmbeddings"]


def test_the_retriever_in_a_chain(store):
    retriever = ZenRetriever(memory=store.memory, k=3, filter={"n": {"$lt": 3}})
    chain = retriever | RunnableLambda(lambda documents: [document.id for document in documents])
    assert set(chain.invoke("pets")) == {"bread", "dog"}
    assert [one.id for one in retriever.invoke("pets", k=1, filter={"lang": "fr"})] == ["cat"]
    assert [one.id for one in asyncio.run(retriever.ainvoke("pets", k=1, filter={"lang": "fr"}))] == ["cat"]
    with pytest.raises(InputError, match="'top_k' is not an argument"):
        retriever.invoke("pets", top_k=1)


def test_stores_are_made_of_texts_and_paths(tmp_path):
    path = tmp_path / "made.zenso"
    store = ZenVectorStore.from_documents([Document(page_content="foo", id="x")], ZenEmbeddings(), memory=path)
    assert [document.id for document in store.similarity_search("foo")] == ["x"]
    store.memory.close()
    with ZenVectorStore(str(path)).memory as memory:
        again = asyncio.run(ZenVectorStore.afrom_texts(["bar"], None, ids=["y"], memory=memory, hybrid=False))
        assert again.hybrid is False
        assert memory.ids() == ["x", "y"]
        with pytest.raises(InputError, match="embeds with its own model"):
            ZenVectorStore.from_texts(["bar"], DeterministicFakeEmbedding(size=6), memory=memory)
    with pytest.raises(InputError, match="no memory is given"):
        ZenVectorStore.from_texts(["bar"])


def test_the_indexing_api_keeps_a_memory_in_step(memory):
    store, records = ZenVectorStore(memory), InMemoryRecordManager("notes")
    records.create_schema()

    def run(*texts):
        documents = [Document(page_content=text, metadata={"source": "notes.txt"}) for text in texts]
        done = index(documents, records, store, cleanup="full", source_id_key="source", key_encoder="blake2b")
        return done["num_added"], done["num_deleted"], {document.text for document in memory}

    assert run("one", "two") == (2, 0, {"one", "two"})
    assert run("one", "two") == (0, 0, {"one", "two"})
    assert run("two", "three") == (1, 1, {"two", "three"})


def test_the_compressor_orders_documents(encoder):
    documents = [Document(page_content=text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
    compressor = ZenCompressor(top_n=2, reranker=ZenReranker(encoder=encoder))
    best = compressor.compress_documents(documents, "what do cats do?")
    expected = compressor.reranker.rerank("what do cats do?", TEXTS, 2)
    assert [one.metadata for one in best] == [{"place": r.index, "relevance_score": r.score} for r in expected]
    assert best[0].page_content == TEXTS[2]
    assert all("relevance_score" not in document.metadata for document in documents)
    assert asyncio.run(compressor.acompress_documents(documents, "what do cats do?")) == best
    assert compressor.compress_documents([], "what?") == []
    assert "reranker" not in compressor.model_dump()


async def test_asynchronous_methods_leave_the_loop_alone(memory, watched):
    store = ZenVectorStore(memory)
    await store.aadd_texts(["one", "two"])
    await store.aadd_documents([Document(page_content="three")])
    await store.asimilarity_search("one")
    await store.asimilarity_search_with_score("one")
    await store.asimilarity_search_with_relevance_scores("one")
    await store.amax_marginal_relevance_search("one")
    await ZenRetriever(memory=memory).ainvoke("one")
    await ZenCompressor(reranker=ZenReranker(encoder=watched)).acompress_documents([Document(page_content="x")], "one")
    assert watched.threads
    assert threading.get_ident() not in watched.threads


async def test_many_tasks_at_once(memory):
    store = ZenVectorStore(memory)
    await asyncio.gather(*(store.aadd_texts([f"text number {n}"], ids=[str(n)]) for n in range(20)))
    found = await asyncio.gather(*(store.asimilarity_search(f"text number {n}", k=1) for n in range(20)))
    assert [documents[0].id for documents in found] == [str(n) for n in range(20)]


def test_a_memory_that_others_filled(tmp_path, encoder):
    with Memory.open(tmp_path, encoder=encoder) as memory:
        memory.replace_source("notes.txt", "1", ["A dog barks."], {"path": "notes.txt"})
        [document] = ZenVectorStore(memory).similarity_search("dog")
        assert document.metadata == {"path": "notes.txt"}
