"""Ranking quality on retrieval sets in the BEIR layout: pooled vectors, codes and their prefixes, words, and reranking.

Each query is answered by the integer dot product of pooled canonical vectors with every document; by the codes alone,
all 964 bytes and the first 484 and 244 of them; by words alone (BM25); by a memory's hybrid search, which fuses words
and codes; and by ``ZenReranker`` on the best of the codes. The metrics are computed by ``ir_measures``.
"""

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from numpy.typing import NDArray
from rich.progress import Progress

from bench.report import Scalar, progress
from zenso.bitdelta import DIMENSIONS, prefix, top_k
from zenso.errors import InputError
from zenso.memory import Memory
from zenso.memory.database import FILE_NAME
from zenso.memory.words import query_words, rank_by_words
from zenso.rerank import ZenReranker
from zenso.rerank.late_interaction import late_interaction
from zenso.zen import DocumentEmbeddings, ZenEncoder, load_encoder

NAME = "quality"
MEASURES = {"ndcg_at_10": nDCG @ 10, "recall_at_100": R @ 100}
CODES = {"codes": 7680, "codes_484_bytes": 3840, "codes_244_bytes": 1920}  # dimensions
CANDIDATES = 100  # of the codes' ranking, handed to the reranker
FOLDERS = [Path("../shared/data") / name for name in ("scifact", "nq_utd", "covidqa")]
RESAMPLES = 2000  # of the queries, for 95% intervals
QUICK_DOCUMENTS, QUICK_QUERIES = 500, 50
RERANKS_TIMED, QUICK_RERANKS_TIMED = 8, 2  # each embeds a hundred documents, which takes seconds
_AT_ONCE = 64  # documents whose token states are in memory together: 200 kB each at most

Rows = NDArray[np.int64]
Reranked = list[tuple[int, float]]  # rows and scores, best first
Frequencies = Callable[[NDArray[np.int32]], tuple[int, NDArray[np.int64]]]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class RetrievalSet:
    """Documents in the order of their file, and the queries that somebody judged."""

    name: str
    document_ids: list[str]
    documents: list[str]
    query_ids: list[str]
    queries: list[str]
    judgements: list[Any]  # of ir_measures, for these queries
    empty_documents: int  # without any text, so they cannot be found and are left out


@dataclass(frozen=True)
class Ranking:
    """Rows of documents for each query, best first, and what a query took."""

    rows: list[Rows]
    milliseconds: float  # median
    dimensions: tuple[int, ...] = ()  # scored for each query, where the search chose

    def shares(self) -> dict[str, float]:
        """Share of the queries for which each of the dimensions was chosen."""
        if not self.dimensions:
            return {}
        return {f"share_{size}": self.dimensions.count(size) / len(self.dimensions) for size in DIMENSIONS}


def _objects(path: Path) -> list[dict[str, Any]]:
    try:
        # Only a line feed ends a line: texts hold other characters that str.splitlines() takes for an end.
        items = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as JSON Lines ({error}); give a folder in the BEIR layout"
        raise InputError(message) from error
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or not isinstance(item.get("_id"), str):
            message = f"{path}, object {number}, has no _id; give a folder in the BEIR layout"
            raise InputError(message)
    return items


def _judgements(folder: Path) -> list[Any]:
    """Read ``qrels.tsv``, or ``qrels/test.tsv`` as BEIR's own archives have it."""
    found = next((path for path in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if path.is_file()), None)
    if found is None:
        message = f"{folder} has neither qrels.tsv nor qrels/test.tsv; give a folder in the BEIR layout"
        raise InputError(message)
    try:
        rows = [line.split("\t") for line in found.read_text("utf-8").split("\n")[1:] if line.strip()]
        return [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in rows]
    except (OSError, ValueError) as error:
        message = f"{found} is not lines of query, document and grade, separated by tabs ({error})"
        raise InputError(message) from error


def _text(item: dict[str, Any]) -> str:
    """Title, where there is one, and text."""
    return f"{item.get('title') or ''} {item.get('text') or ''}".strip()


def read_retrieval_set(folder: Path, *, quick: bool) -> RetrievalSet:
    """Read a folder in the BEIR layout.

    Parameters
    ----------
    folder : Path
    quick : bool
        Take the first 50 queries, and the first 500 documents with all that were judged for these queries.

    Raises
    ------
    InputError
        A file is missing or is not what the layout says, or nothing is left to measure.
    """
    every_judgement = _judgements(folder)
    judged = {judgement.query_id for judgement in every_judgement}
    asked = [item for item in _objects(folder / "queries.jsonl") if item["_id"] in judged and _text(item)]
    if quick:
        asked = asked[:QUICK_QUERIES]
    query_ids = [item["_id"] for item in asked]
    judgements = [judgement for judgement in every_judgement if judgement.query_id in set(query_ids)]
    corpus = _objects(folder / "corpus.jsonl")
    if quick:
        needed = {judgement.doc_id for judgement in judgements}
        corpus = [item for index, item in enumerate(corpus) if index < QUICK_DOCUMENTS or item["_id"] in needed]
    kept = [item for item in corpus if _text(item)]
    if not kept or not asked:
        message = f"{folder} has {len(kept)} documents with text and {len(asked)} judged queries; there is no ranking"
        raise InputError(message)
    return RetrievalSet(
        name=folder.resolve().name,
        document_ids=[item["_id"] for item in kept],
        documents=[_text(item) for item in kept],
        query_ids=query_ids,
        queries=[_text(item) for item in asked],
        judgements=judgements,
        empty_documents=len(corpus) - len(kept),
    )


def _start(bars: Progress, description: str, total: int) -> Advance:
    task = bars.add_task(description, total=total)
    return lambda done: bars.advance(task, done)


def evaluate(data: RetrievalSet, ranking: Ranking) -> dict[str, NDArray[np.float64]]:
    """Compute the measures of every query; scores handed over fall by one a place, so that ties stay as broken here."""
    scored = [
        ir_measures.ScoredDoc(query, data.document_ids[row], float(len(rows) - place))
        for query, rows in zip(data.query_ids, ranking.rows, strict=True)
        for place, row in enumerate(rows.tolist())
    ]
    values: dict[Any, dict[str, float]] = {measure: {} for measure in MEASURES.values()}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), data.judgements, scored):
        values[metric.measure][metric.query_id] = metric.value
    return {
        name: np.array([values[measure].get(query, 0.0) for query in data.query_ids])
        for name, measure in MEASURES.items()
    }


def interval(differences: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """95% bootstrap interval of the mean over sets of the mean over each set's queries."""
    generator = np.random.default_rng(0)
    means = [part[generator.integers(0, len(part), (RESAMPLES, len(part)))].mean(axis=1) for part in differences]
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5])
    return float(low), float(high)


def _timed(queries: Sequence[str], answer: Callable[[str], Rows], advance: Advance) -> Ranking:
    """Answer every query, one after the other; the median leaves out that the first one compiles."""
    rows, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        rows.append(answer(query))
        seconds.append(time.perf_counter() - start)
        advance(1)
    return Ranking(rows, 1000 * median(seconds))


def search_pooled(encoder: ZenEncoder, vectors: NDArray[np.int32], query: str) -> Rows:
    """Rank by the integer dot product of pooled vectors; ties by lower row."""
    # Directions of length 32767, each coordinate within half a unit: below 2^31 by Cauchy-Schwarz.
    scores = vectors @ encoder.encode_vectors([query])[0].astype(np.int32)
    best: Rows = np.argsort(-scores, kind="stable")[:CANDIDATES]
    return best


def count_tokens(documents: DocumentEmbeddings) -> Frequencies:
    """Count the documents that hold each token, as a memory does."""
    counts = np.bincount(np.concatenate(documents.token_sets), minlength=1)

    def lookup(tokens: NDArray[np.int32]) -> tuple[int, NDArray[np.int64]]:
        known = tokens < len(counts)
        return len(documents.codes), np.where(known, counts[np.where(known, tokens, 0)], 0)

    return lookup


def search_codes(encoder: ZenEncoder, codes: NDArray[np.uint8], frequencies: Frequencies, query: str) -> Rows:
    """Rank by codes alone."""
    return top_k(encoder.encode_query(query, frequencies).prepare(), codes, CANDIDATES)[0]


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


def search_words_and_memory(
    encoder: ZenEncoder, data: RetrievalSet, documents: DocumentEmbeddings, advance: Advance
) -> dict[str, Ranking]:
    """Rank by words alone, and by a memory that holds the documents: hybrid, and by as much of codes as it chooses."""
    known: Any = _KnownDocuments(encoder, data.documents, documents)
    with tempfile.TemporaryDirectory() as place, Memory.open(place, encoder=known) as memory:
        memory.add(data.documents, ids=[str(row) for row in range(len(data.documents))])
        with closing(sqlite3.connect(f"{(Path(place) / FILE_NAME).as_uri()}?mode=ro", uri=True)) as connection:

            def by_words(query: str) -> Rows:
                # Rows of the database are counted from 1, in the order in which documents were added.
                return np.array(rank_by_words(connection, query_words(query), CANDIDATES, None), np.int64) - 1

            def by_both(query: str) -> Rows:
                return np.array([int(hit.id) for hit in memory.search(query, CANDIDATES)], np.int64)

            chosen: list[int] = []

            def by_codes(query: str) -> Rows:
                hits = memory.search(query, CANDIDATES, hybrid=False, dimensions="auto", explain=True)
                assert hits.explanation
                chosen.append(hits.explanation.dimensions)
                return np.array([int(hit.id) for hit in hits], np.int64)

            return {
                "bm25": _timed(data.queries, by_words, advance),
                "hybrid": _timed(data.queries, by_both, advance),
                "auto": replace(_timed(data.queries, by_codes, advance), dimensions=tuple(chosen)),
            }


def rerank_all(encoder: ZenEncoder, data: RetrievalSet, candidates: list[Rows], bars: Progress) -> list[Reranked]:
    """Rerank each query's candidates as the reranker does, embedding a document once for all queries that want it."""
    advance = _start(bars, f"{data.name}: embed queries for reranking", len(data.queries))
    asked = encoder.encode_tokens(data.queries, advance)
    wanted: dict[int, list[tuple[int, int]]] = {}
    for query, rows in enumerate(candidates):
        for place, row in enumerate(rows.tolist()):
            wanted.setdefault(row, []).append((query, place))
    scores = [[0.0] * len(rows) for rows in candidates]
    advance = _start(bars, f"{data.name}: rerank from text", len(wanted))
    needed = sorted(wanted)
    for first in range(0, len(needed), _AT_ONCE):
        part = needed[first : first + _AT_ONCE]
        for row, states in zip(part, encoder.encode_tokens([data.documents[row] for row in part]), strict=True):
            for query, place in wanted[row]:
                scores[query][place] = late_interaction(asked[query], states)
        advance(len(part))
    best_first = [np.argsort(-np.array(given), kind="stable").tolist() for given in scores]
    return [
        [(int(rows[place]), given[place]) for place in order]
        for rows, given, order in zip(candidates, scores, best_first, strict=True)
    ]


def _time_reranks(
    encoder: ZenEncoder,
    search: Callable[[str], Rows],
    data: RetrievalSet,
    expected: list[Reranked],
    sample: list[int],
    advance: Advance,
) -> float:
    """Search and rerank some queries as a user would, and make sure that this is what was measured for all."""
    reranker = ZenReranker(encoder=encoder)
    seconds = []
    for query in sample:
        start = time.perf_counter()
        rows = search(data.queries[query]).tolist()
        results = reranker.rerank(data.queries[query], [data.documents[row] for row in rows])
        seconds.append(time.perf_counter() - start)
        assert [(rows[result.index], result.score) for result in results] == expected[query]
        advance(1)
    return 1000 * median(seconds)


def rank(encoder: ZenEncoder, data: RetrievalSet, *, reranks_timed: int) -> dict[str, Ranking]:
    """Rank the documents of one set for all of its queries, in every way."""
    count = len(data.queries)
    with progress() as bars:
        advance = _start(bars, f"{data.name}: embed documents", len(data.documents))
        documents = encoder.encode_documents(data.documents, advance)
        advance = _start(bars, f"{data.name}: search", 7 * count)
        vectors = documents.vectors.astype(np.int32)
        frequencies = count_tokens(documents)
        rankings = {"pooled": _timed(data.queries, lambda query: search_pooled(encoder, vectors, query), advance)}
        for name, dimensions in CODES.items():
            codes = prefix(documents.codes, dimensions)
            rankings[name] = _timed(data.queries, partial(search_codes, encoder, codes, frequencies), advance)
        rankings |= search_words_and_memory(encoder, data, documents, advance)
        reranked = rerank_all(encoder, data, rankings["codes"].rows, bars)
        sample = [index * count // reranks_timed for index in range(reranks_timed)]
        advance = _start(bars, f"{data.name}: time search and rerank", reranks_timed)
        search = partial(search_codes, encoder, documents.codes, frequencies)
        milliseconds = _time_reranks(encoder, search, data, reranked, sample, advance)
    rankings["rerank"] = Ranking([np.array([row for row, _ in best]) for best in reranked], milliseconds)
    return rankings


def compare(measured: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, float]:
    """Tell by how much each ranking's nDCG@10 is above that of the pooled vectors, as a mean over sets."""
    values: dict[str, float] = {}
    for name in measured[0]:
        if name == "pooled":
            continue
        differences = [one[name] - one["pooled"] for one in measured]
        values[f"{name}_over_pooled"] = fmean(float(part.mean()) for part in differences)
        values[f"{name}_over_pooled_low"], values[f"{name}_over_pooled_high"] = interval(differences)
    return values


def _folder(argument: str) -> Path:
    folder = Path(argument)
    missing = [name for name in ("corpus.jsonl", "queries.jsonl") if not (folder / name).is_file()]
    if missing:
        message = f"{folder} has no {' and no '.join(missing)}; give a folder in the BEIR layout"
        raise argparse.ArgumentTypeError(message)
    return folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument(
        "--data",
        type=_folder,
        action="append",
        metavar="FOLDER",
        help=f"a retrieval set in the BEIR layout; again for several; default: {', '.join(map(str, FOLDERS))}",
    )


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure every set; with several, keys start with a set's name, and averages follow."""
    sets = [read_retrieval_set(folder, quick=options.quick) for folder in options.data or FOLDERS]
    names = [data.name for data in sets]
    if len(set(names)) < len(names):
        message = f"the folders of --data must have different names, these are {', '.join(names)}"
        raise InputError(message)
    encoder = load_encoder()
    values: dict[str, Scalar] = {"dataset": ", ".join(names)}
    gained: list[dict[str, NDArray[np.float64]]] = []
    results: list[dict[str, float | int]] = []
    for data in sets:
        timed = min(QUICK_RERANKS_TIMED if options.quick else RERANKS_TIMED, len(data.queries))
        result: dict[str, float | int] = {}
        gained.append({})
        for name, ranking in rank(encoder, data, reranks_timed=timed).items():
            measured = evaluate(data, ranking)
            gained[-1][name] = measured["ndcg_at_10"]
            result |= {f"{name}_{measure}": float(value.mean()) for measure, value in measured.items()}
            result[f"{name}_ms_per_query"] = ranking.milliseconds
            result |= {f"{name}_{key}": value for key, value in ranking.shares().items()}
        results.append(result | compare(gained[-1:]))
        results[-1] |= {
            "documents": len(data.documents),
            "empty_documents": data.empty_documents,
            "queries": len(data.queries),
            "rerank_queries_timed": timed,
        }
    if len(sets) == 1:
        return values | results[0]
    for name, result in zip(names, results, strict=True):
        values |= {f"{name}_{key}": value for key, value in result.items()}
    averaged = [key for key in results[0] if key.endswith((*MEASURES, "ms_per_query")) or "_share_" in key]
    values |= {f"average_{key}": fmean(result[key] for result in results) for key in averaged}
    return values | {f"average_{key}": value for key, value in compare(gained).items()}
