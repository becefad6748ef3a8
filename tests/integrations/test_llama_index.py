import asyncio
import threading

import numpy as np
import pytest
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode

import zenso.integrations.llama_index
from zenso.errors import InputError, ModelError
from zenso.integrations.llama_index import ZenEmbedding, ZenRerank, ZenVectorStore
from zenso.rerank import ZenReranker

TEXTS = ["Bread needs flour and water.", "A dog barks at night.", "Cats purr when they are content."]
ENGLISH = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
UNUSED = MockEmbedding(embed_dim=1)


def node(name, text, document="notes", **metadata):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(id_=name, text=text, metadata=metadata, relationships=source)


@pytest.fixture
def nodes():
    languages = ["en", "en", "de"]
    return [
        node(name, text, f"doc-{language}", lang=language, n=n)
        for n, (name, text, language) in enumerate(zip(["bread", "dog", "cat"], TEXTS, languages, strict=True))
    ]


@pytest.fixture
def store(memory, nodes):
    store = ZenVectorStore(memory)
    assert store.add(nodes) == ["bread", "dog", "cat"]
    return store


def ask(store, text="Does a dog bark?", **arguments):
    return store.query(VectorStoreQuery(query_str=text, **{"similarity_top_k": 3} | arguments))


def test_public_names():
    assert zenso.integrations.llama_index.__all__ == ["ZenEmbedding", "ZenRerank", "ZenVectorStore"]


def test_embeddings_are_canonical_vectors(encoder):
    model = ZenEmbedding()
    vectors = np.array(model.get_text_embedding_batch(TEXTS))
    assert np.array_equal(np.rint(vectors * 32767), encoder.encode_vectors(TEXTS))
    assert model.get_text_embedding(TEXTS[1]) == vectors[1].tolist()
    assert model.get_query_embedding(TEXTS[2]) == vectors[2].tolist()
    assert np.array_equal(asyncio.run(model.aget_text_embedding_batch(TEXTS)), vectors)
    assert asyncio.run(model.aget_text_embedding(TEXTS[1])) == vectors[1].tolist()
    assert asyncio.run(model.aget_query_embedding(TEXTS[2])) == vectors[2].tolist()
    assert ZenEmbedding.from_dict(model.to_dict()).threads is None
    assert len(ZenEmbedding(dimensions=1920).get_query_embedding(TEXTS[2])) == 1920
    with pytest.raises(ModelError, match="no-such-model"):
        ZenEmbedding(model_name="no-such-model")


def test_queries(store, nodes):
    hits = store.client.search("Does a dog bark?", k=3)
    result = ask(store)
    assert result.ids == [hit.id for hit in hits]
    assert result.similarities == [hit.score for hit in hits]
    assert result.nodes[0] == nodes[1]
    assert ask(store, mode=VectorStoreQueryMode.HYBRID) == result
    assert ask(store, mode=VectorStoreQueryMode.HYBRID, hybrid_top_k=1).ids == result.ids[:1]
    alone = store.client.search("Does a dog bark?", k=3, hybrid=False)
    assert ask(store, mode=VectorStoreQueryMode.HYBRID, alpha=1.0).similarities == [hit.score for hit in alone]
    assert ask(ZenVectorStore(store.client, hybrid=False)).similarities == [hit.score for hit in alone]


def test_queries_are_restricted(store):
    assert ask(store, filters=ENGLISH).ids == ["dog", "bread"]
    assert ask(store, doc_ids=["doc-de"]).ids == ["cat"]
    assert ask(store, doc_ids=[]).ids == []
    assert ask(store, node_ids=["cat", "bread", "unknown"], filters=ENGLISH).ids == ["bread"]
    assert len(ask(store, node_ids=[]).ids) == 3


def test_queries_by_an_embedding(store):
    vector = ZenEmbedding().get_query_embedding("A dog barks at night.")
    assert ask(store, None, query_embedding=vector).ids[0] == "dog"
    assert ask(store, "bread and water", query_embedding=[0.5], similarity_top_k=1).ids == ["bread"]
    with pytest.raises(InputError, match="1 numbers"):
        ask(store, None, query_embedding=[0.5])


def test_marginal_relevance(memory):
    store = ZenVectorStore(memory)
    texts = ["A dog barks.", "A dog barks!", "The dog is barking.", "Trains are late."]
    store.add([node(name, text) for name, text in zip("abcd", texts, strict=True)])
    query = VectorStoreQuery(query_str="a barking dog", similarity_top_k=2, mode=VectorStoreQueryMode.MMR)
    assert store.query(query, mmr_threshold=0.0).ids[1] == "d"
    assert "d" not in store.query(query, mmr_threshold=1.0).ids
    assert len(store.query(query).ids) == 2
    query.filters = ENGLISH
    assert store.query(query).nodes == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": VectorStoreQueryMode.SVM}, "query mode is 'svm'"),
        ({"mode": VectorStoreQueryMode.TEXT_SEARCH}, "query mode is 'text_search'"),
        ({"mode": VectorStoreQueryMode.HYBRID, "alpha": 0.3}, r"alpha is 0\.3"),
        ({"query_str": None}, "neither text nor an embedding"),
        ({"query_str": None, "mode": VectorStoreQueryMode.MMR}, "no text, which the mode 'mmr' needs"),
        ({"similarity_top_k": 0}, "k is 0"),
    ],
)
def test_queries_that_make_no_sense(store, arguments, message):
    with pytest.raises(InputError, match=message):
        store.query(VectorStoreQuery(**{"query_str": "dog"} | arguments))
    with pytest.raises(InputError, match="'where' is not an argument"):
        store.query(VectorStoreQuery(query_str="dog"), where={})


def test_nodes_come_back_as_they_were(memory):
    store = ZenVectorStore(memory)
    page = Document(text="Bread needs flour. " * 60, metadata={"page": 2, "tags": ["a", "b"], "none": None})
    page.excluded_embed_metadata_keys = ["page"]
    nodes = [
        *SentenceSplitter(chunk_size=100, chunk_overlap=10).get_nodes_from_documents([page]),
        TextNode(id_="template", text="text", text_template="{content}", metadata_separator=" "),
        IndexNode(id_="index", text="an index", index_id="other"),
        ImageNode(id_="image", text="an image", image_url="https://example.org/x.png"),
        Node(id_="node", text_resource={"text": "a node"}),
    ]
    assert len(nodes) > 6
    store.add(nodes)
    assert store.get_nodes() == nodes
    assert [type(node) for node in store.get_nodes()] == [type(node) for node in nodes]
    nodes[0].embedding = [0.5]
    store.add(nodes[:1])
    assert store.get_nodes([nodes[0].node_id])[0].embedding is None


def test_documents_that_got_in_another_way(memory):
    memory.add("A dog barks.", ids="x", metadata={"lang": "en"})
    assert ask(ZenVectorStore(memory)).nodes == [TextNode(id_="x", text="A dog barks.", metadata={"lang": "en"})]


def test_nodes_without_text_are_not_stored(memory):
    store = ZenVectorStore(memory)
    store.add([node("a", "text"), node("b", "text")])
    assert store.add([node("a", " \n", page=1), node("c", "more")]) == ["a", "c"]
    assert memory.ids() == ["b", "c"]


def test_what_cannot_be_stored_is_named_and_nothing_is_stored(memory):
    store = ZenVectorStore(memory)
    with pytest.raises(InputError, match=r"metadata 'box' of texts\[1\] is of type dict"):
        store.add([node("a", "text"), node("b", "text", box={"x": 1})])
    with pytest.raises(InputError, match="metadata '_node_type' of node 'a' is a name the store uses"):
        store.add([node("a", "text", _node_type="x")])
    assert len(memory) == 0


def test_nodes_are_found_and_deleted(store, nodes):
    assert store.get_nodes(["cat", "bread"]) == [nodes[0], nodes[2]]
    assert store.get_nodes(filters=ENGLISH) == nodes[:2]
    assert store.get_nodes(["cat", "bread"], ENGLISH) == nodes[:1]
    assert store.get_nodes([]) == []
    with pytest.raises(InputError, match="neither node_ids nor filters"):
        store.delete_nodes()
    store.delete_nodes(["cat", "bread"], ENGLISH)
    assert store.client.ids() == ["dog", "cat"]
    store.delete_nodes([])
    store.delete("doc-en")
    assert store.client.ids() == ["cat"]
    store.delete_nodes(["cat"])
    assert store.client.ids() == []
    store.add(nodes)
    store.clear()
    assert len(store.client) == 0


def test_an_index_over_the_store(memory, nodes):
    store = ZenVectorStore(memory)
    index = VectorStoreIndex(
        nodes, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=UNUSED
    )
    retriever = index.as_retriever(similarity_top_k=1)
    assert [found.node for found in retriever.retrieve("Does a dog bark?")] == [nodes[1]]
    assert [found.node for found in asyncio.run(retriever.aretrieve("Does a dog bark?"))] == [nodes[1]]
    index.insert(Document(text="Trains are late.", id_="trains", metadata={"lang": "en"}))
    again = VectorStoreIndex.from_vector_store(store, embed_model=UNUSED)
    english = again.as_retriever(similarity_top_k=9, filters=ENGLISH)
    assert {found.text for found in english.retrieve("trains")} == {*TEXTS[:2], "Trains are late."}
    again.delete_ref_doc("trains")
    assert {found.text for found in english.retrieve("trains")} == set(TEXTS[:2])
    mmr = index.as_retriever(
        vector_store_query_mode="mmr", similarity_top_k=3, vector_store_kwargs={"mmr_threshold": 0.1}
    )
    assert len(mmr.retrieve("animals")) == 3


def test_an_index_keeps_its_other_nodes_findable(memory, nodes):
    store = ZenVectorStore(memory)
    pointer = IndexNode(id_="pointer", text="All about trains.", index_id="trains")
    index = VectorStoreIndex(
        [*nodes, pointer], storage_context=StorageContext.from_defaults(vector_store=store), embed_model=UNUSED
    )
    assert [found.node_id for found in index.as_retriever(similarity_top_k=1).retrieve("trains")] == ["pointer"]


def test_an_ingestion_pipeline_fills_the_store(memory):
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), UNUSED], vector_store=ZenVectorStore(memory))
    pipeline.run(documents=[Document(text=text) for text in ["", *TEXTS]])
    assert {document.text for document in memory} == set(TEXTS)
    asyncio.run(pipeline.arun(documents=[Document(text="Trains are late.")]))
    assert len(memory) == 4


def test_the_store_is_made_of_a_path(tmp_path):
    store = ZenVectorStore(tmp_path / "made.zenso")
    store.add([node("a", "text")])
    store.client.close()
    again = ZenVectorStore(str(tmp_path / "made.zenso"))
    assert again.client.ids() == ["a"]
    again.client.close()


def test_the_postprocessor_orders_nodes(nodes):
    found = [NodeWithScore(node=node, score=0.1) for node in nodes]
    rerank = ZenRerank(top_n=2, metadata_mode=MetadataMode.NONE)
    best = rerank.postprocess_nodes(found, query_str="what do cats do?")
    expected = ZenReranker().rerank("what do cats do?", TEXTS, 2)
    assert [(one.node, one.score) for one in best] == [(nodes[r.index], r.score) for r in expected]
    assert best[0].node is nodes[2]
    assert found[0].score == 0.1
    assert asyncio.run(rerank.apostprocess_nodes(found, query_str="what do cats do?")) == best
    with_metadata = ZenRerank().postprocess_nodes(found, query_str="what do cats do?")
    texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    assert [one.score for one in with_metadata] == [r.score for r in ZenReranker().rerank("what do cats do?", texts)]
    assert rerank.postprocess_nodes([], query_str="what?") == []
    given = ZenRerank(reranker=ZenReranker(), metadata_mode="none")
    assert given.postprocess_nodes(found, query_str="what do cats do?")[:2] == best
    assert "reranker" not in given.to_dict()
    with pytest.raises(InputError, match="no query"):
        rerank.postprocess_nodes(found)


async def test_asynchronous_methods_leave_the_loop_alone(memory, watched, nodes):
    store = ZenVectorStore(memory)
    calls = []

    class WatchedMemory:
        def __getattr__(self, name):
            calls.append(threading.get_ident())
            return getattr(memory, name)

    store._memory = WatchedMemory()
    await store.async_add(nodes)
    assert (await store.aquery(VectorStoreQuery(query_str="dog"))).ids == ["dog"]
    assert await store.aget_nodes(["dog"]) == nodes[1:2]
    await store.adelete_nodes(["dog"])
    await store.adelete("doc-en")
    assert memory.ids() == ["cat"]
    await store.aclear()
    assert len(memory) == 0
    assert len(calls) == 6
    assert threading.get_ident() not in {*calls, *watched.threads}
