"""Models that ``mteb`` can run: pooled vectors for all of its tasks, and a memory for those that search.

>>> import mteb
>>> from zenso.evaluation.mteb import MtebEncoder, MtebSearch
>>> mteb.evaluate(MtebEncoder(), mteb.get_tasks(tasks=["STSBenchmark", "SciFact"]))
>>> mteb.evaluate(MtebSearch(reranked=100), mteb.get_tasks(tasks=["SciFact"]))

They follow ``EncoderProtocol`` and ``SearchProtocol`` of mteb 2. Results are kept under the digest of everything that
the embeddings depend on, so that what mteb has in its cache is never of another version.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.types import PromptType
from numpy.typing import NDArray

from zenso.memory import Memory
from zenso.rerank import ZenReranker
from zenso.zen import ZenEncoder, load_encoder

Dataset = Any  # of the datasets package: columns by name
_SCALE = np.float32(1 / 32767)


class MtebEncoder:
    """Canonical pooled vectors: 384 numbers a text, compared by cosine.

    Parameters
    ----------
    model : str
        Name in the catalogue.
    encoder : ZenEncoder, optional
        One that is loaded already.
    """

    def __init__(self, model: str = "all-MiniLM-L6-v2", *, encoder: ZenEncoder | None = None, **_: object) -> None:
        """Other arguments are those that mteb gives every model, of which none is needed here."""
        self._encoder = encoder or load_encoder(model)
        self.mteb_model_meta = _meta(self._encoder, "pooled", embed_dim=384, model_type=["dense"])

    def encode(
        self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: PromptType | None = None, **_: object
    ) -> NDArray[np.float32]:
        """Return vectors of shape (n, 384); a text without characters has the zero vector.

        Parameters
        ----------
        inputs : iterable of mappings
            Batches, each with a list of texts under ``text``.
        prompt_type : PromptType, optional
            Queries get the prefix that the model was trained to see before them.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        rows = [row for row, text in enumerate(texts) if text.strip()]
        kept = [texts[row] for row in rows]
        vectors = np.zeros((len(texts), 384), np.float32)
        if kept and prompt_type == PromptType.query:
            vectors[rows] = np.stack([self._encoder.encode_query(text).vector for text in kept])
        elif kept:
            vectors[rows] = self._encoder.encode_vectors(kept)
        return vectors * _SCALE

    def similarity(self, first: Any, second: Any) -> NDArray[np.float64]:  # noqa: ANN401 - arrays or tensors
        """Return the cosines of all pairs: (n, 384) and (m, 384) to (n, m)."""
        cosines: NDArray[np.float64] = _unit(first) @ _unit(second).T
        return cosines

    def similarity_pairwise(self, first: Any, second: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the cosines of vectors in the same place: (n, 384) twice to (n,)."""
        cosines: NDArray[np.float64] = np.sum(_unit(first) * _unit(second), axis=-1)
        return cosines


class MtebSearch:
    """A memory: hybrid search, or similarity of codes alone, and reranking from text.

    Candidates that a task brings along (reranking tasks) are reranked from text, whatever else is chosen.

    Parameters
    ----------
    model : str
        Name in the catalogue.
    encoder : ZenEncoder, optional
        One that is loaded already.
    hybrid : bool
        Fuse the words of a query (BM25) with the similarity of codes.
    reranked : int
        How many of the first are reranked from text; each is embedded anew for every query.
    """

    def __init__(
        self,
        model: str = "all-MiniLM-L6-v2",
        *,
        encoder: ZenEncoder | None = None,
        hybrid: bool = True,
        reranked: int = 0,
        **_: object,
    ) -> None:
        """Other arguments are those that mteb gives every model, of which none is needed here."""
        self._encoder = encoder or load_encoder(model)
        self._hybrid = hybrid
        self._reranked = reranked
        way = f"{'hybrid' if hybrid else 'codes'}{f'-rerank-{reranked}' if reranked else ''}"
        kinds = ["late-interaction", "hybrid"] if hybrid else ["late-interaction"]
        self.mteb_model_meta = _meta(self._encoder, way, embed_dim=None, model_type=kinds)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._memory: Memory | None = None

    def index(self, corpus: Dataset, **_: object) -> None:
        """Put the documents into a new memory; those without any text cannot be found.

        Parameters
        ----------
        corpus : Dataset
            Columns ``id``, ``text`` and maybe ``title``.
        """
        self.close()
        titles = corpus["title"] if "title" in corpus.column_names else [""] * len(corpus)
        texts = [f"{title or ''} {text or ''}".strip() for title, text in zip(titles, corpus["text"], strict=True)]
        kept = [row for row, text in enumerate(texts) if text]
        ids = list(corpus["id"])
        self._folder = tempfile.TemporaryDirectory()
        self._memory = Memory.open(self._folder.name, encoder=self._encoder)
        self._memory.add([texts[row] for row in kept], ids=[ids[row] for row in kept])

    def search(
        self,
        queries: Dataset,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: object,
    ) -> dict[str, dict[str, float]]:
        """Return the score of every document found for each query, by their ids.

        Parameters
        ----------
        queries : Dataset
            Columns ``id``, ``text`` and maybe ``instruction``, which follows the text.
        top_k : int
        top_ranked : mapping, optional
            Ids of the candidates of each query.
        """
        assert self._memory is not None, "mteb indexes a corpus before it searches"
        extra = queries["instruction"] if "instruction" in queries.column_names else [""] * len(queries)
        asked = [f"{text} {more or ''}".strip() for text, more in zip(queries["text"], extra, strict=True)]
        found = {}
        for query_id, query in zip(queries["id"], asked, strict=True):
            candidates = None if top_ranked is None else list(top_ranked.get(query_id, ()))
            found[query_id] = self._answer(self._memory, query, top_k, candidates)
        return found

    def close(self) -> None:
        """Forget what was indexed."""
        if self._memory is not None:
            self._memory.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._memory = self._folder = None

    def _answer(self, memory: Memory, query: str, top_k: int, candidates: list[str] | None) -> dict[str, float]:
        reranker = ZenReranker(memory=memory)
        if candidates is not None:
            documents = [document for document in map(memory.get, candidates) if document is not None]
            results = reranker.rerank(query, documents, top_n=top_k) if documents else []
            return {result.candidate.id: result.evidence for result in results}
        hits = memory.search(query, max(top_k, self._reranked), hybrid=self._hybrid)
        best = reranker.rerank(query, hits[: self._reranked]) if self._reranked and hits else []
        order = [result.candidate.id for result in best] + [hit.id for hit in hits[len(best) :]]
        # Scores of the two are not of one scale, and mteb only looks at their order.
        return {name: 1 / place for place, name in enumerate(order[:top_k], start=1)}


def _unit(vectors: Any) -> NDArray[np.float64]:  # noqa: ANN401 - arrays or tensors
    """Scale to length 1; the zero vector stays."""
    array = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(array, axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = array / np.where(lengths > 0, lengths, 1)
    return scaled


def _meta(encoder: ZenEncoder, way: str, *, embed_dim: int | None, model_type: list[str]) -> Any:  # noqa: ANN401
    """Return what mteb wants to know of a model, unknown things as None."""
    provenance = encoder.provenance
    return ModelMeta(
        loader=None,
        name=f"zenso/{encoder.name}-{way}",
        revision=provenance.digest.hex(),
        release_date=None,
        languages=["eng-Latn"],
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=encoder.max_tokens,
        embed_dim=embed_dim,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["NumPy"],
        similarity_fn_name="cosine" if embed_dim else None,
        use_instructions=bool(encoder.query_prefix),
        training_datasets=None,
        adapted_from=provenance.model.model_id,
        model_type=model_type,
    )
