"""Rankings of a retrieval set: pooled vectors, codes and their prefixes, words, what a memory does, and reranking.

Each query is answered by the integer dot product of pooled canonical vectors with every document; by the codes alone,
all 964 bytes and the first 484 and 244 of them; by words alone (BM25); by a memory's hybrid search, which fuses words
and codes; and by ``ZenReranker`` on the first hundred of that, from their text and from their stored codes.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta import DIMENSIONS, prefix, top_k
from zenso.errors import InputError
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.memory import Memory
from zenso.memory.database import FILE_NAME
from zenso.memory.words import query_words, rank_by_words
from zenso.rerank import ZenReranker
from zenso.rerank.scoring import Scorer
from zenso.zen import DocumentEmbeddings, ZenEncoder

RANKINGS = {
    "pooled": "pooled vectors, 768 bytes",
    "codes": "codes, 964 bytes",
    "codes_484_bytes": "codes, first 484 bytes",
    "codes_244_bytes": "codes, first 244 bytes",
    "bm25": "words alone (BM25)",
    "hybrid": "hybrid: codes and words, what a memory's search does",
    "auto": "codes, as many dimensions of them as a query needs",
    "rerank": "the first 100 of hybrid, reranked from their text",
    "rerank_codes": "the first 100 of hybrid, reranked from their codes",
}
DEPTH = 100  # documents of a ranking, and candidates of a reranking
RERANKS_TIMED = 8  # each embeds a hundred documents, which takes seconds
_DIMENSIONS = {"codes": 7680, "codes_484_bytes": 3840, "codes_244_bytes": 1920}
_AT_ONCE = 64  # documents whose token states are in memory together: 200 kB each at most

Rows = NDArray[np.int64]
Reranked = list[tuple[int, float]]  # rows and evidence, best first
# What is being done, how many of it are done, and of how many.
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Ranking:
    """Rows of documents for each query, best first and at most a hundred, and what a query took."""

    rows: list[Rows]
    milliseconds: float  # median, from the query's text to its ranking
    dimensions: tuple[int, ...] = ()  # scored for each query, where the search chose

    def shares(self) -> dict[str, float]:
        """Share of the queries for which each of the dimensions was chosen."""
        if not self.dimensions:
            return {}
        return {f"share_{size}": self.dimensions.count(size) / len(self.dimensions) for size in DIMENSIONS}


def check_rankings(names: Sequence[str]) -> None:
    """Refuse names that no ranking has.

    Raises
    ------
    InputError
    """
    for name in names:
        if name not in RANKINGS:
            raise InputError(f"no ranking is called {name!r}; choose among {', '.join(RANKINGS)}")


def rank(
    encoder: ZenEncoder,
    data: RetrievalSet,
    names: Sequence[str] = tuple(RANKINGS),
    *,
    reranks_timed: int = RERANKS_TIMED,
    on_progress: OnProgress | None = None,
) -> dict[str, Ranking]:
    """Rank the documents for all queries, in each of the ways that ``names`` asks for.

    A user who reranks from text embeds a hundred documents for each query. To rank for every query in bearable time,
    each document that is a candidate of any is embedded once. The time a query is still that of real calls, on
    ``reranks_timed`` queries spaced over all, and they must find the same, to the last bit.

    Raises
    ------
    InputError
        There is no ranking of such a name.
    """
    check_rankings(names)
    documents = encoder.encode_documents(data.documents, _counter(on_progress, "embed documents", len(data.documents)))
    with _filled(encoder, data, documents) as memory, _words(memory) as connection:
        chosen: list[int] = []
        answers: dict[str, Callable[[str], Rows]] = {
            "pooled": partial(_search_vectors, encoder, documents.vectors.astype(np.int32)),
            **{
                name: partial(_search_codes, encoder, memory, prefix(documents.codes, dimensions))
                for name, dimensions in _DIMENSIONS.items()
            },
            "bm25": partial(_search_words, connection),
            "hybrid": partial(_search_memory, memory),
            "auto": partial(_search_as_needed, memory, chosen),
            "rerank_codes": partial(_rerank_codes, memory),
        }
        needed = {*names, "hybrid"} if "rerank" in names else set(names)
        found = {
            name: _timed(data.queries, answer, _counter(on_progress, name, len(data.queries)))
            for name, answer in answers.items()
            if name in needed
        }
        if "auto" in names:
            found["auto"] = replace(found["auto"], dimensions=tuple(chosen))
        if "rerank" in names:
            reranked = _rerank_all(memory, data, found["hybrid"].rows, on_progress)
            milliseconds = _time_reranks(memory, data, reranked, reranks_timed, on_progress)
            found["rerank"] = Ranking([np.array([row for row, _ in best], np.int64) for best in reranked], milliseconds)
    return {name: found[name] for name in names}


def _counter(on_progress: OnProgress | None, what: str, total: int) -> Callable[[int], None]:
    """Return what takes the number done since it was called last."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        if on_progress is not None:
            on_progress(what, done, total)

    return advance


def _timed(queries: Sequence[str], answer: Callable[[str], Rows], advance: Callable[[int], None]) -> Ranking:
    """Answer every query, one after the other; the median leaves out that the first one compiles."""
    rows, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        rows.append(answer(query))
        seconds.append(time.perf_counter() - start)
        advance(1)
    return Ranking(rows, 1000 * median(seconds))


def _search_vectors(encoder: ZenEncoder, vectors: NDArray[np.int32], query: str) -> Rows:
    """Rank by the integer dot product of pooled vectors; ties by lower row."""
    # Directions of length 32767, each coordinate within half a unit: below 2^31 by Cauchy-Schwarz.
    scores = vectors @ encoder.encode_vectors([query])[0].astype(np.int32)
    best: Rows = np.argsort(-scores, kind="stable")[:DEPTH]
    return best


def _search_codes(encoder: ZenEncoder, memory: Memory, codes: NDArray[np.uint8], query: str) -> Rows:
    return top_k(encoder.encode_query(query, memory.frequencies).prepare(), codes, DEPTH)[0]


def _search_words(connection: sqlite3.Connection, query: str) -> Rows:
    # Rows of the database are counted from 1, in the order in which documents were added.
    return np.array(rank_by_words(connection, query_words(query), DEPTH, None), np.int64) - 1


def _search_memory(memory: Memory, query: str) -> Rows:
    return np.array([int(hit.id) for hit in memory.search(query, DEPTH)], np.int64)


def _search_as_needed(memory: Memory, chosen: list[int], query: str) -> Rows:
    """Search by codes alone, and note how many dimensions of them the search chose."""
    hits = memory.search(query, DEPTH, hybrid=False, dimensions="auto", explain=True)
    assert hits.explanation
    chosen.append(hits.explanation.dimensions)
    return np.array([int(hit.id) for hit in hits], np.int64)


def _rerank_codes(memory: Memory, query: str) -> Rows:
    results = ZenReranker(memory=memory).rerank(query, memory.search(query, DEPTH), from_codes=True)
    return np.array([int(result.candidate.id) for result in results], np.int64)


class _KnownDocuments:
    """The encoder of a memory that is filled with documents embedded before."""

    def __init__(self, encoder: ZenEncoder, texts: Sequence[str], embedded: DocumentEmbeddings) -> None:
        self._encoder = encoder
        self._rows = {text: row for row, text in enumerate(texts)}
        self._embedded = embedded

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the encoder has
        return getattr(self._encoder, name)

    def encode_documents(self, texts: Sequence[str], _on_progress: object) -> DocumentEmbeddings:
        rows = [self._rows[text] for text in texts]
        known = self._embedded
        sets = [known.token_sets[row] for row in rows]
        return DocumentEmbeddings(known.vectors[rows], known.codes[rows], known.token_counts[rows], sets)


@contextmanager
def _filled(encoder: ZenEncoder, data: RetrievalSet, documents: DocumentEmbeddings) -> Iterator[Memory]:
    """Open a memory that holds the documents; ids are rows."""
    known: Any = _KnownDocuments(encoder, data.documents, documents)
    with tempfile.TemporaryDirectory() as place, Memory.open(place, encoder=known) as memory:
        memory.add(data.documents, ids=[str(row) for row in range(len(data.documents))])
        yield memory


def _words(memory: Memory) -> closing[sqlite3.Connection]:
    """Open the database of a memory for its words alone."""
    return closing(sqlite3.connect(f"{(memory.path / FILE_NAME).as_uri()}?mode=ro", uri=True))


def _rerank_all(
    memory: Memory, data: RetrievalSet, candidates: list[Rows], on_progress: OnProgress | None
) -> list[Reranked]:
    """Rerank each query's candidates as the reranker does, embedding a document once for all queries that want it."""
    encoder = memory.encoder
    scorers = [Scorer(encoder.encode_query(query, memory.frequencies)) for query in data.queries]
    wanted: dict[int, list[tuple[int, int]]] = {}
    for query_number, rows in enumerate(candidates):
        for place, row in enumerate(rows.tolist()):
            wanted.setdefault(row, []).append((query_number, place))
    scores = [[0.0] * len(rows) for rows in candidates]
    advance = _counter(on_progress, "rerank from text", len(wanted))
    needed = sorted(wanted)
    for first in range(0, len(needed), _AT_ONCE):
        part = needed[first : first + _AT_ONCE]
        cut = encoder.cut_windows([data.documents[row] for row in part])
        states = iter(encoder.encode_tokens([piece for windows in cut for piece in windows.pieces]))
        for row, windows in zip(part, cut, strict=True):
            mine = list(islice(states, len(windows.spans)))
            for query_number, place in wanted[row]:
                scores[query_number][place] = scorers[query_number].score(windows, mine)[0]
        advance(len(part))
    best_first = [np.argsort(-np.array(given), kind="stable").tolist() for given in scores]
    return [
        [(int(rows[place]), given[place]) for place in order]
        for rows, given, order in zip(candidates, scores, best_first, strict=True)
    ]


def _time_reranks(
    memory: Memory, data: RetrievalSet, expected: list[Reranked], count: int, on_progress: OnProgress | None
) -> float:
    """Search and rerank some queries as a user would, and make sure that this is what was measured for all."""
    reranker = ZenReranker(memory=memory)
    count = min(count, len(data.queries))
    advance = _counter(on_progress, "time reranking", count)
    seconds = []
    for query in [number * len(data.queries) // count for number in range(count)]:
        start = time.perf_counter()
        results = reranker.rerank(data.queries[query], memory.search(data.queries[query], DEPTH))
        seconds.append(time.perf_counter() - start)
        assert [(int(result.candidate.id), result.evidence) for result in results] == expected[query]
        advance(1)
    return 1000 * median(seconds)
