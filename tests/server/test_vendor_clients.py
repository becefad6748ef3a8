"""The vendors' own clients and the frameworks' stock classes give what the library gives.

OpenAI's client is in test_embeddings.py.
"""

import cohere
import httpx
import numpy as np
import pytest
from cohere.errors import UnprocessableEntityError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import close_session
from langchain_openai import OpenAIEmbeddings
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference as TeiRerank

from zenso.rerank import ZenReranker
from zenso.zen import load_encoder

QUERY = "What grows in a garden?"


@pytest.fixture(scope="module")
def documents(texts):
    return list(texts.values())


@pytest.fixture(scope="module")
def vectors(documents):
    return load_encoder().encode_dense(documents).floats


@pytest.fixture(scope="module")
def ranked(documents):
    return [(one.index, one.score) for one in ZenReranker().rerank(QUERY, documents)]


@pytest.fixture
def nodes(documents):
    return [NodeWithScore(node=TextNode(id_=str(place), text=text)) for place, text in enumerate(documents)]


@pytest.fixture
def http():
    """Connections that are closed at the end, which most of these classes leave open."""
    with httpx.Client() as client:
        yield client
    close_session()  # huggingface_hub's


@pytest.fixture
def jina(server):
    reranker = JinaRerank(base_url=f"{server.url}/v1", api_key="none", top_n=3)
    yield reranker
    reranker._session.close()


@pytest.fixture
def tei(server):
    return TeiRerank(base_url=server.url, top_n=3)


def assert_equal_vectors(given, vectors):
    np.testing.assert_array_equal(np.array(given, np.float32), vectors)


def test_cohere(server, http, documents, ranked):
    client = cohere.ClientV2(api_key="none", base_url=server.url, httpx_client=http)
    answer = client.rerank(model="rerank-v4.0", query=QUERY, documents=documents)
    assert [(one.index, one.relevance_score) for one in answer.results] == ranked
    assert answer.meta.billed_units.search_units == 1
    assert len(client.rerank(model="x", query=QUERY, documents=documents, top_n=2).results) == 2
    with pytest.raises(UnprocessableEntityError) as caught:
        client.rerank(model="x", query=" ", documents=documents)
    assert caught.value.body["message"].startswith("query: is empty")


@pytest.mark.parametrize("path", ["", "/embed"])
def test_huggingface_features(server, http, documents, vectors, path):
    client = InferenceClient(server.url + path)
    assert_equal_vectors(client.feature_extraction(documents, normalize=True, truncate=True), vectors)
    assert_equal_vectors(client.feature_extraction(documents[0]), vectors[:1])
    with pytest.raises(HfHubHTTPError, match="422"):
        client.feature_extraction("text", prompt_name="poem")


def test_huggingface_similarity(server, http, documents):
    client = InferenceClient(f"{server.url}/similarity")
    whole = load_encoder().encode_dense(documents).vectors.astype(np.int64)
    expected = (whole[1:] @ whole[0] / 32767**2).tolist()
    assert client.sentence_similarity(documents[0], other_sentences=documents[1:]) == expected


def test_langchain_openai(server, http, documents, vectors):
    embeddings = OpenAIEmbeddings(
        model="all-MiniLM-L6-v2",
        base_url=f"{server.url}/v1",
        api_key="none",
        check_embedding_ctx_length=False,  # it would send token ids of OpenAI's tokenizer
        http_client=http,
    )
    assert_equal_vectors(embeddings.embed_documents(documents), vectors)
    assert_equal_vectors(embeddings.embed_query(documents[0]), vectors[0])


def test_llama_index_openai(server, http, documents, vectors):
    embedding = OpenAILikeEmbedding(model_name="all-MiniLM-L6-v2", api_base=f"{server.url}/v1", http_client=http)
    assert_equal_vectors(embedding.get_text_embedding_batch(documents), vectors)


def test_llama_index_tei(server, documents, vectors):
    embedding = TextEmbeddingsInference(model_name="all-MiniLM-L6-v2", base_url=server.url)
    assert_equal_vectors(embedding.get_text_embedding_batch(documents), vectors)


@pytest.mark.parametrize("name", ["jina", "tei"])
def test_llama_index_rerankers(request, nodes, ranked, name):
    found = request.getfixturevalue(name).postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [(int(one.node.node_id), one.score) for one in found] == ranked[:3]


def test_jinas_errors_reach_the_caller(jina, nodes):
    with pytest.raises(RuntimeError, match="query: is empty or only white space"):
        jina.postprocess_nodes(nodes, QueryBundle(" "))
