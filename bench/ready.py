"""An encoder whose embeddings are ready: for measuring a memory without the model in front of it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from zenso.zen import DocumentEmbeddings, Provenance, QueryEmbedding
from zenso.zen.frequencies import Lookup


class ReadyEncoder:
    """Stands where a memory expects an encoder, and answers with embeddings that it was given."""

    def __init__(self, provenance: Provenance, queries: Mapping[str, QueryEmbedding] | None = None) -> None:
        self.provenance = provenance
        self.queries = dict(queries or {})
        self._rows: dict[str, int] = {}
        self._documents = DocumentEmbeddings(np.empty(0, np.int16), np.empty(0, np.uint8), np.empty(0, np.int32), [])

    def expect(self, texts: Sequence[str], embeddings: DocumentEmbeddings) -> None:
        """Have the embeddings of some texts ready, instead of those before."""
        self._rows = {text: row for row, text in enumerate(texts)}
        self._documents = embeddings

    def encode_documents(
        self,
        texts: Sequence[str],
        on_progress: Callable[[int], None] | None = None,  # noqa: ARG002 - as a real encoder takes it
    ) -> DocumentEmbeddings:
        """Return the embeddings of texts that are ready."""
        rows = [self._rows[text] for text in texts]
        every = self._documents
        sets = [every.token_sets[row] for row in rows]
        return DocumentEmbeddings(every.vectors[rows], every.codes[rows], every.token_counts[rows], sets)

    def encode_query(
        self,
        text: str,
        frequencies: Lookup | None = None,  # noqa: ARG002 - its tokens have been weighed
    ) -> QueryEmbedding:
        """Return the embedding of a query that is ready."""
        return self.queries[text]
