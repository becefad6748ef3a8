"""Haystack: a ranker component. Needs ``zenso[haystack]``."""

import asyncio
from dataclasses import replace
from functools import cached_property

from zenso.errors import InputError
from zenso.integrations import missing_extra
from zenso.integrations.vectors import DEFAULT_MODEL
from zenso.rerank import ZenReranker

try:
    from haystack import Document, component
except ImportError as error:
    raise missing_extra("haystack-ai", "haystack") from error

__all__ = ["ZenRanker"]


@component
class ZenRanker:
    """Order documents by how well they answer a query, and keep the best.

    Parameters
    ----------
    model : str
        Name in the catalogue; fetched and loaded on first use.
    top_k : int, optional
        All by default.
    """

    def __init__(self, model: str = DEFAULT_MODEL, top_k: int | None = None) -> None:
        self.model = model
        self.top_k = top_k

    @cached_property
    def _reranker(self) -> ZenReranker:
        return ZenReranker(self.model)

    def warm_up(self) -> None:
        """Load the model, which is fetched when missing."""
        self._reranker.encoder  # noqa: B018 - loaded when first asked for

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Return copies of the best documents with their scores, best first, as ``documents``.

        Raises
        ------
        InputError
            The query or a document's content is empty, or ``top_k`` is below 1.
        """
        texts = []
        for document in documents:
            if document.content is None:
                raise InputError(f"document {document.id!r} has no content; leave it out")
            texts.append(document.content)
        results = self._reranker.rerank(query, texts, self.top_k if top_k is None else top_k)
        return {"documents": [replace(documents[result.index], score=result.score) for result in results]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Do ``run`` in a thread."""
        return await asyncio.to_thread(self.run, query, documents, top_k)
