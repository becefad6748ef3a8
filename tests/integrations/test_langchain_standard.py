"""LangChain's own test suites, as they are."""

import pytest
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from zenso.integrations.langchain import ZenEmbeddings, ZenRetriever, ZenVectorStore


class TestZenVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, memory):
        return ZenVectorStore(memory)


class TestZenVectorStoreOfSimilarityAlone(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, memory):
        return ZenVectorStore(memory, hybrid=False)


class TestZenRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def filled(self, memory):
        memory.add(["Bread needs flour.", "Dogs bark.", "Cats purr.", "Trains are late.", "It rains."])
        self._memory = memory

    @property
    def retriever_constructor(self):
        return ZenRetriever

    @property
    def retriever_constructor_params(self):
        return {"memory": self._memory}

    @property
    def retriever_query_example(self):
        return "How is bread made?"


class TestZenEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return ZenEmbeddings


class TestZenEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return ZenEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "all-MiniLM-L6-v2", "threads": 1}
