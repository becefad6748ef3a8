"""LlamaIndex: an embedding, a vector store and a node postprocessor. Needs ``zenso[llama-index]``.

A memory embeds texts itself, so ``ZenVectorStore`` looks at the text of nodes and queries and not at their embeddings.
The asynchronous methods run the others in threads.
"""

import asyncio
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from zenso.errors import InputError
from zenso.integrations import missing_extra
from zenso.integrations.vectors import DEFAULT_MODEL, CanonicalVectors, diverse
from zenso.memory import Document, Hit, Memory
from zenso.rerank import ZenReranker

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores import MetadataFilters, VectorStoreQuery, VectorStoreQueryResult
    from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryMode
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    from zenso.integrations.llama_index_filters import to_where
except ImportError as error:
    raise missing_extra("llama-index-core", "llama-index") from error

__all__ = ["ZenEmbedding", "ZenRerank", "ZenVectorStore"]

# Metadata of a stored node beside its own, under the names that LlamaIndex's stores use.
_CONTENT, _TYPE, _REF_DOC_ID = "_node_content", "_node_type", "ref_doc_id"
# What stands elsewhere in the memory, or is not kept.
_APART = {"id_", "embedding", "metadata", "text", "text_resource"}

_MMR_CANDIDATES = 4  # times the results that are asked for


class ZenEmbedding(BaseEmbedding):
    """Canonical vectors: the same floats on every machine.

    Parameters
    ----------
    model_name : str
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

    model_name: str = Field(default=DEFAULT_MODEL, description="Name or id of the model in Zenso's catalogue.")
    embed_batch_size: int = Field(default=256, description="Texts embedded at once.", gt=0, le=2048)
    threads: int | None = Field(default=None, description="Processors to embed with; all by default.")
    dimensions: int | None = Field(default=None, description="Of dense vectors: 1920, 3840 or 7680; 384 by default.")
    _vectors: CanonicalVectors = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Look the model up."""
        super().model_post_init(context)
        self._vectors = CanonicalVectors(self.model_name, self.threads, self.dimensions)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised form."""
        return "ZenEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._vectors.query(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._vectors.documents([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._vectors.documents(texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class ZenVectorStore(BasePydanticVectorStore):
    """A memory as a vector store.

    The text of a node is embedded, without its metadata; an embedding that a node brings is not used. Metadata must be
    what a memory accepts: str, int, float, bool, None, or lists of these; anything else raises InputError with its key.
    The nodes that come back are equal to those that were added, but for the embedding. Whole documents come back as
    text nodes, and so does what got into the memory in another way.

    Parameters
    ----------
    memory : Memory or path
        A path is opened, and made when missing.
    hybrid : bool
        Whether queries of the default mode look at words as well as at embeddings, as ``Memory.search`` does.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    hybrid: bool = True
    _memory: Memory = PrivateAttr()

    def __init__(self, memory: Memory | str | PathLike[str], *, hybrid: bool = True) -> None:
        super().__init__(stores_text=True, is_embedding_query=False)
        self.hybrid = hybrid
        self._memory = memory if isinstance(memory, Memory) else Memory.open(Path(memory))

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised form."""
        return "ZenVectorStore"

    @property
    def client(self) -> Memory:
        """The memory."""
        return self._memory

    # --- changing -----------------------------------------------------------------------------------------------

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:  # noqa: ARG002 - of other stores
        """Store nodes and return their ids; a stored node of the same id is replaced.

        Nodes without text, which splitters make of empty pages, are not stored: nothing could find them.

        Raises
        ------
        InputError
            Naming the first node whose id or metadata cannot be stored; then nothing is.
        ModelError, StorageError
            As ``Memory.add``.
        """
        texts = {node.node_id: node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes}
        told = [node for node in nodes if texts[node.node_id].strip()]
        self._memory.add(
            [texts[node.node_id] for node in told],
            ids=[node.node_id for node in told],
            metadata=[_to_metadata(node) for node in told],
        )
        silent = [name for name, text in texts.items() if not text.strip()]
        if silent:
            self._memory.delete(silent)  # what they had when they were added before
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:  # noqa: ARG002
        """Delete the nodes of a document."""
        self._memory.delete_where({_REF_DOC_ID: ref_doc_id})

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Delete the nodes of these ids that the filters match; either may be left out.

        Raises
        ------
        InputError
            For a filter that makes no sense, or without either.
        """
        if node_ids is None and filters is None:
            raise InputError("neither node_ids nor filters are given; clear() deletes every node")
        if filters is None:
            self._memory.delete(node_ids or [])  # any number, which a filter could not name
        else:
            self._memory.delete_where(_where(node_ids, filters))

    def clear(self) -> None:
        """Delete every node."""
        self._memory.delete_where({})

    # --- reading ------------------------------------------------------------------------------------------------

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the nodes of these ids that the filters match, in insertion order; either may be left out.

        Raises
        ------
        InputError
            For a filter that makes no sense.
        """
        return [_to_node(document) for document in self._memory.find(_where(node_ids, filters))]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Search by the text of a query, or by its embedding if it has no text.

        Modes: ``default``, ``hybrid`` (fused with equal weights; ``alpha`` may be 1, which leaves out the words) and
        ``mmr`` (``mmr_threshold``). An embedding must be a ``ZenEmbedding`` of the memory's model.

        Raises
        ------
        InputError
            For another mode, a filter that makes no sense, or a query without text and embedding.
        """
        threshold = kwargs.pop("mmr_threshold", query.mmr_threshold)
        if kwargs:
            raise InputError(f"{next(iter(kwargs))!r} is not an argument of queries here; leave it out")
        if query.mode is VectorStoreQueryMode.MMR:
            hits = self._diverse(query, 0.5 if threshold is None else threshold)
        else:
            k = query.similarity_top_k
            if query.mode is VectorStoreQueryMode.HYBRID:
                k = query.hybrid_top_k or k
            hits = self._search(query, k)
        return VectorStoreQueryResult(
            nodes=[_to_node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )

    def _search(self, query: VectorStoreQuery, k: int) -> Sequence[Hit]:
        hybrid = self._hybrid(query)
        # A retriever of an index gives an empty list when it means all nodes.
        where = _where(query.node_ids or None, query.filters)
        if query.doc_ids is not None:
            where = {"$and": [where, {_REF_DOC_ID: {"$in": query.doc_ids}}]}
        if query.query_str:
            return self._memory.search(query.query_str, k, where=where, hybrid=hybrid)
        if query.query_embedding is not None:
            return self._memory.search_vector(query.query_embedding, k, where=where)
        raise InputError("the query has neither text nor an embedding; give query_str")

    def _hybrid(self, query: VectorStoreQuery) -> bool:
        if query.mode in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR):
            return self.hybrid
        if query.mode is not VectorStoreQueryMode.HYBRID:
            raise InputError(f"the query mode is {query.mode.value!r}; a memory knows default, hybrid and mmr")
        if query.alpha not in (None, 0.5, 1):
            raise InputError(
                f"alpha is {query.alpha}; rankings are fused with equal weights, so leave it out, or give 1"
            )
        return query.alpha != 1

    def _diverse(self, query: VectorStoreQuery, threshold: float) -> Sequence[Hit]:
        """Choose, among more hits than are asked for, some that are unlike each other."""
        if not query.query_str:
            raise InputError("the query has no text, which the mode 'mmr' needs; give query_str")
        hits = self._search(query, _MMR_CANDIDATES * query.similarity_top_k)
        if not hits:
            return hits
        vectors = self._memory.vectors([hit.id for hit in hits])
        left = [hit for hit in hits if hit.id in vectors]  # another process may have deleted one meanwhile
        vector = self._memory.encoder.encode_query(query.query_str).vector
        chosen = diverse(vector, [vectors[hit.id] for hit in left], query.similarity_top_k, threshold)
        return [left[place] for place in chosen]

    # --- asynchronous -------------------------------------------------------------------------------------------

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Do ``add`` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do ``delete`` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Do ``delete_nodes`` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """Do ``clear`` in a thread."""
        await asyncio.to_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Do ``get_nodes`` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Do ``query`` in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)


class ZenRerank(BaseNodePostprocessor):
    """Order retrieved nodes by how well they answer the query, and keep the best.

    Parameters
    ----------
    model : str
        Name in the catalogue; fetched and loaded on first use.
    top_n : int, optional
        All by default.
    metadata_mode : MetadataMode
        Which metadata of a node is read with its text.
    reranker : ZenReranker, optional
        One that exists already, such as ``ZenReranker(memory=memory)``, in place of ``model``.
    """

    model: str = Field(default=DEFAULT_MODEL, description="Name of the model in Zenso's catalogue.")
    top_n: int | None = Field(default=None, description="Most nodes to return; all by default.")
    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata of a node is read with its text."
    )
    reranker: ZenReranker | None = Field(default=None, exclude=True)
    _reranker: ZenReranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Make the reranker, which loads its model when it is first used."""
        super().model_post_init(context)
        self._reranker = self.reranker or ZenReranker(self.model)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised form."""
        return "ZenRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("no query is given to rerank for; give query_str or query_bundle")
        texts = [found.node.get_content(metadata_mode=self.metadata_mode) for found in nodes]
        results = self._reranker.rerank(query_bundle.query_str, texts, self.top_n)
        return [NodeWithScore(node=nodes[result.index].node, score=result.score) for result in results]


def _where(node_ids: Sequence[str] | None, filters: MetadataFilters | None) -> dict[str, Any]:
    ids = [] if node_ids is None else [{"$ids": list(node_ids)}]
    parts = [*ids, *([] if filters is None else [to_where(filters)])]
    return {"$and": parts} if parts else {}


def _to_metadata(node: BaseNode) -> dict[str, Any]:
    """Return what is stored with a node's text: its metadata, and whatever else makes it up."""
    own: dict[str, Any] = node.metadata
    for name in (_CONTENT, _TYPE, _REF_DOC_ID):
        if name in own:
            raise InputError(f"metadata {name!r} of node {node.node_id!r} is a name the store uses; rename it")
    rest = node.model_dump(mode="json", exclude=_APART, exclude_defaults=True)
    kept: dict[str, Any] = {_CONTENT: json.dumps(rest, ensure_ascii=False), _TYPE: node.class_name()}
    if node.ref_doc_id is not None:
        kept[_REF_DOC_ID] = node.ref_doc_id
    return own | kept


def _to_node(stored: Document | Hit) -> BaseNode:
    """Make a node of what is stored."""
    own = {name: value for name, value in stored.metadata.items() if name not in (_CONTENT, _TYPE, _REF_DOC_ID)}
    if _CONTENT not in stored.metadata:
        return TextNode(id_=stored.id, text=stored.text, metadata=stored.metadata)
    node = metadata_dict_to_node(stored.metadata, text=stored.text)
    node.node_id = stored.id
    node.metadata = own
    return node
