"""LangChain: embeddings, a vector store, a retriever and a document compressor. Needs ``zenso[langchain]``.

A memory embeds texts itself, so ``ZenVectorStore`` takes no embeddings. Filters are those of a memory's ``where``,
which are LangChain's usual ones: ``{"lang": "en", "year": {"$gte": 2020}}``. The asynchronous methods are those of the
base classes: they run the others in threads.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from blake3 import blake3

from zenso.errors import InputError
from zenso.integrations import missing_extra
from zenso.integrations.vectors import DEFAULT_MODEL, CanonicalVectors, diverse
from zenso.memory import Hit, Memory
from zenso.rerank import ZenReranker

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import run_in_executor
    from langchain_core.vectorstores import VectorStore
    from pydantic import ConfigDict, Field
except ImportError as error:
    raise missing_extra("langchain-core", "langchain") from error

__all__ = ["ZenCompressor", "ZenEmbeddings", "ZenRetriever", "ZenVectorStore"]

# Keeps ids made here from ever equalling ids of another kind.
_ID_TAG = b"zenso/langchain-document/1\x00"


class ZenEmbeddings(Embeddings):
    """Canonical vectors: the same floats on every machine.

    Parameters
    ----------
    model : str
        Name or id in the catalogue; fetched and loaded on first use.
    threads : int, optional
        The number of processors by default.
    dimensions : int, optional
        1,920, 3,840 or 7,680 for dense vectors whose dot product follows late interaction.

    Raises
    ------
    InputError
        There are no vectors of so many dimensions.
    ModelError
        The model is unknown.
    """

    def __init__(
        self, model: str = DEFAULT_MODEL, *, threads: int | None = None, dimensions: int | None = None
    ) -> None:
        self.model = model
        self._vectors = CanonicalVectors(model, threads, dimensions)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents: a unit vector each, by default of 384 numbers for the default model.

        Raises
        ------
        InputError
            A text is not a string, or is empty.
        """
        return self._vectors.documents(texts)

    def embed_query(self, text: str) -> list[float]:
        """Embed a query.

        Raises
        ------
        InputError
            The text is not a string, or is empty.
        """
        return self._vectors.query(text)


class ZenVectorStore(VectorStore):
    """A memory as a vector store.

    The page content of a document is the text that is embedded. Its metadata must be what a memory accepts: str, int,
    float, bool, None, or lists of these; anything else raises InputError with its key. Documents without an id get one
    made of content and metadata, so that adding a document again changes nothing.

    ``filter`` of every search is a ``where`` of ``Memory.search``; ``hybrid`` overrides that of the store.

    Parameters
    ----------
    memory : Memory or path
        A path is opened, and made when missing.
    hybrid : bool
        Whether searches look at words as well as at embeddings, as ``Memory.search`` does.
    """

    def __init__(self, memory: Memory | str | PathLike[str], *, hybrid: bool = True) -> None:
        self.memory = memory if isinstance(memory, Memory) else Memory.open(Path(memory))
        self.hybrid = hybrid

    @property
    def embeddings(self) -> ZenEmbeddings:
        """The embeddings whose vectors ``similarity_search_by_vector`` takes."""
        return ZenEmbeddings(self.memory.info().model)

    # --- changing -----------------------------------------------------------------------------------------------

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        memory: Memory | str | PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Add texts to a memory and return its store.

        Parameters
        ----------
        embedding
            None, or ``ZenEmbeddings``: a memory embeds with its own model.
        memory
            A memory, or the path of one, made when missing.

        Raises
        ------
        InputError
            For other embeddings, without ``memory``, and as ``add_texts``.
        """
        if embedding is not None and not isinstance(embedding, ZenEmbeddings):
            raise InputError(
                f"embedding is {type(embedding).__name__}, but a memory embeds with its own model: give None or "
                "ZenEmbeddings, or keep vectors of other models in another store"
            )
        if memory is None:
            raise InputError('no memory is given; give a path, such as memory="notes.zenso"')
        if embedding is not None and not isinstance(memory, Memory):
            memory = Memory.open(Path(memory), model=embedding.model)
        store = cls(memory, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,  # noqa: ARG002 - LangChain's indexing gives a batch size
    ) -> list[str]:
        """Store texts and return their ids; a stored document of the same id is replaced.

        Raises
        ------
        InputError
            Naming the first text, id or metadata that cannot be stored; then nothing is.
        ModelError, StorageError
            As ``Memory.add``.
        """
        listed = list(texts)
        described: Sequence[Mapping[str, object]] = metadatas or [{}] * len(listed)
        given = [None] * len(listed) if ids is None else list(ids)
        if not len(described) == len(given) == len(listed):
            raise InputError(
                f"{len(described)} metadatas and {len(given)} ids for {len(listed)} texts; give one a text"
            )
        named = [
            _content_id(text, fields) if name is None else name
            for text, fields, name in zip(listed, described, given, strict=True)
        ]
        return self.memory.add(listed, ids=named, metadata=described)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:  # noqa: ARG002
        """Delete documents, all without ``ids``; unknown ids are passed over."""
        if ids is None:
            self.memory.delete_where({})
        else:
            self.memory.delete(ids)
        return True

    # --- reading ------------------------------------------------------------------------------------------------

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents of these ids that are stored, in the order of the ids."""
        found = [self.memory.get(name) for name in ids]
        return [Document(id=one.id, page_content=one.text, metadata=dict(one.metadata)) for one in found if one]

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - LangChain's word
        hybrid: bool | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Return the ``k`` documents that answer a query best, best first.

        Raises
        ------
        InputError
            For an empty query, a ``k`` below 1, a filter that makes no sense, or another argument.
        """
        _refuse(kwargs)
        return [_document(hit) for hit in self._search(query, k, filter, hybrid=hybrid)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002
        hybrid: bool | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Do ``similarity_search`` and give the score of each too: that of ``zenso.Hit``, larger is better."""
        _refuse(kwargs)
        return [(_document(hit), hit.score) for hit in self._search(query, k, filter, hybrid=hybrid)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Give the similarity of embeddings, cut to 0..1: a threshold on the points of a fused ranking says nothing."""
        where, hybrid = kwargs.pop("filter", None), kwargs.pop("hybrid", None)
        _refuse(kwargs)
        hits = self._search(query, k, where, hybrid=hybrid)
        return [(_document(hit), min(max(hit.similarity, 0.0), 1.0)) for hit in hits]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return await run_in_executor(None, self._similarity_search_with_relevance_scores, query, k, **kwargs)

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """Return the ``k`` documents whose canonical vectors are nearest to a vector of the store's ``embeddings``.

        ``similarity_search`` finds better, because it compares token by token.

        Raises
        ------
        InputError
            For a vector of another width, and as ``similarity_search``.
        """
        _refuse(kwargs)
        return [_document(hit) for hit in self.memory.search_vector(embedding, k, where=filter)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002
        hybrid: bool | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Choose ``k`` of the best ``fetch_k`` documents, near the query and unlike each other.

        Parameters
        ----------
        lambda_mult
            1 looks only at the query, 0 only at diversity.

        Raises
        ------
        InputError
            As ``similarity_search``.
        """
        _refuse(kwargs)
        hits = self._search(query, fetch_k, filter, hybrid=hybrid)
        vector = self.memory.encoder.encode_query(query).vector if hits else np.empty(0, np.int16)
        return self._diverse(hits, vector, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002
        **kwargs: Any,
    ) -> list[Document]:
        """Do ``max_marginal_relevance_search`` with a vector, as ``similarity_search_by_vector`` takes it."""
        _refuse(kwargs)
        hits = self.memory.search_vector(embedding, fetch_k, where=filter)
        return self._diverse(hits, np.asarray(embedding), k, lambda_mult)

    # --- inside -------------------------------------------------------------------------------------------------

    def _search(self, query: str, k: int, where: Mapping[str, object] | None, *, hybrid: bool | None) -> Sequence[Hit]:
        return self.memory.search(query, k, where=where, hybrid=self.hybrid if hybrid is None else hybrid)

    def _diverse(self, hits: Sequence[Hit], query: "np.ndarray[Any, Any]", k: int, relevance: float) -> list[Document]:
        vectors = self.memory.vectors([hit.id for hit in hits])
        left = [hit for hit in hits if hit.id in vectors]  # another process may have deleted one meanwhile
        chosen = diverse(query, [vectors[hit.id] for hit in left], k, relevance)
        return [_document(left[place]) for place in chosen]


class ZenRetriever(BaseRetriever):
    """Retrieve from a memory; ``invoke`` and ``ainvoke`` take ``k``, ``filter`` and ``hybrid`` too.

    ``ZenVectorStore.as_retriever`` gives LangChain's own retriever, which can also search by marginal relevance.
    """

    memory: Memory
    k: int = 4
    filter: dict[str, Any] | None = None
    hybrid: bool = True

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun | None = None,  # noqa: ARG002 - nothing runs below
        **kwargs: Any,
    ) -> list[Document]:
        settings = {"k": self.k, "filter": self.filter, "hybrid": self.hybrid} | kwargs
        return ZenVectorStore(self.memory).similarity_search(query, **settings)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> list[Document]:
        return await run_in_executor(None, self._get_relevant_documents, query, **kwargs)


class ZenCompressor(BaseDocumentCompressor):
    """Order retrieved documents by how well they answer the query, and keep the best.

    Each gets its score as ``metadata["relevance_score"]``; the documents given are not changed.

    Parameters
    ----------
    top_n : int, optional
        All by default.
    reranker : ZenReranker
        For example ``ZenReranker(memory=memory)``, to which words weigh as the memory's documents say.
    """

    top_n: int | None = None
    reranker: ZenReranker = Field(default_factory=ZenReranker, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - nothing runs below
    ) -> list[Document]:
        """Return the best documents, best first.

        Raises
        ------
        InputError
            The query or a document is empty, or ``top_n`` is below 1.
        """
        results = self.reranker.rerank(query, [document.page_content for document in documents], self.top_n)
        return [_with_score(documents[result.index], result.score) for result in results]


def _refuse(arguments: Mapping[str, Any]) -> None:
    """Raise for arguments of a search that would have no effect, such as a filter under another name."""
    if arguments:
        raise InputError(f"{next(iter(arguments))!r} is not an argument here; leave it out")


def _content_id(text: str, metadata: Mapping[str, object] | None) -> str:
    """Return the id of a document that was given none: 32 hex digits, the same for the same content everywhere."""
    content = json.dumps([text, metadata or {}], sort_keys=True, default=str)
    return blake3(_ID_TAG + content.encode()).hexdigest(length=16)


def _document(hit: Hit) -> Document:
    return Document(id=hit.id, page_content=hit.text, metadata=dict(hit.metadata))


def _with_score(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
