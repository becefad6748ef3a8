"""Ranking quality on retrieval sets in the BEIR layout: pooled vectors, 964-byte codes, and reranking from text.

Three ways to answer each query, each over what the one before it left: the integer dot product of pooled canonical
vectors with every document; the codes alone, again with every document; and ``ZenReranker`` on the best of the codes,
which is what a program does that searches a memory and reranks. The metrics are computed by ``ir_measures``.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from numpy.typing import NDArray
from rich.progress import Progress

from bench.report import Scalar, progress
from zenso.bitdelta import top_k
from zenso.errors import InputError
from zenso.rerank import ZenReranker
from zenso.rerank.late_interaction import late_interaction
from zenso.zen import DocumentEmbeddings, ZenEncoder, load_encoder

NAME = "quality"
MEASURES = {"ndcg_at_10": nDCG @ 10, "recall_at_100": R @ 100}
CANDIDATES = 100  # of the codes' ranking, handed to the reranker
QUICK_DOCUMENTS, QUICK_QUERIES = 500, 50
RERANKS_TIMED, QUICK_RERANKS_TIMED = 8, 2  # each embeds a hundred documents, which takes seconds
_AT_ONCE = 64  # documents whose token states are in memory together: 200 kB each at most

Rows = NDArray[np.int64]
Reranked = list[tuple[int, float]]  # rows and scores, best first
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


def evaluate(data: RetrievalSet, ranking: Ranking) -> dict[str, float]:
    """Compute the measures; scores handed over fall by one a place, so that ties stay as they were broken here."""
    scored = [
        ir_measures.ScoredDoc(query, data.document_ids[row], float(len(rows) - place))
        for query, rows in zip(data.query_ids, ranking.rows, strict=True)
        for place, row in enumerate(rows.tolist())
    ]
    values = ir_measures.calc_aggregate(list(MEASURES.values()), data.judgements, scored)
    return {name: float(values[measure]) for name, measure in MEASURES.items()}


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


def search_codes(encoder: ZenEncoder, documents: DocumentEmbeddings, query: str) -> Rows:
    """Rank by codes alone, as a memory does."""
    return top_k(encoder.encode_query(query).prepare(), documents.codes, CANDIDATES)[0]


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
    documents: DocumentEmbeddings,
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
        rows = search_codes(encoder, documents, data.queries[query]).tolist()
        results = reranker.rerank(data.queries[query], [data.documents[row] for row in rows])
        seconds.append(time.perf_counter() - start)
        assert [(rows[result.index], result.score) for result in results] == expected[query]
        advance(1)
    return 1000 * median(seconds)


def measure(encoder: ZenEncoder, data: RetrievalSet, *, reranks_timed: int) -> dict[str, float | int]:
    """Measure the three rankings of one retrieval set; keys as in ``bench/README.md``, without a prefix."""
    with progress() as bars:
        advance = _start(bars, f"{data.name}: embed documents", len(data.documents))
        documents = encoder.encode_documents(data.documents, advance)
        advance = _start(bars, f"{data.name}: search pooled vectors", len(data.queries))
        vectors = documents.vectors.astype(np.int32)
        pooled = _timed(data.queries, lambda query: search_pooled(encoder, vectors, query), advance)
        advance = _start(bars, f"{data.name}: search codes", len(data.queries))
        codes = _timed(data.queries, lambda query: search_codes(encoder, documents, query), advance)
        reranked = rerank_all(encoder, data, codes.rows, bars)
        count = min(reranks_timed, len(data.queries))
        sample = [index * len(data.queries) // count for index in range(count)]
        advance = _start(bars, f"{data.name}: time search and rerank", count)
        milliseconds = _time_reranks(encoder, documents, data, reranked, sample, advance)
        rerank = Ranking([np.array([row for row, _ in best]) for best in reranked], milliseconds)
    values: dict[str, float | int] = {}
    for name, ranking in {"pooled": pooled, "codes": codes, "rerank": rerank}.items():
        values |= {f"{name}_{measure}": value for measure, value in evaluate(data, ranking).items()}
        values[f"{name}_ms_per_query"] = ranking.milliseconds
    return values | {
        "documents": len(data.documents),
        "empty_documents": data.empty_documents,
        "queries": len(data.queries),
        "rerank_queries_timed": count,
    }


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
        required=True,
        metavar="FOLDER",
        help="a retrieval set in the BEIR layout; give it again for several",
    )


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure every set; with several, keys start with a set's name, and averages follow."""
    sets = [read_retrieval_set(folder, quick=options.quick) for folder in options.data]
    names = [data.name for data in sets]
    if len(set(names)) < len(names):
        message = f"the folders of --data must have different names, these are {', '.join(names)}"
        raise InputError(message)
    encoder = load_encoder()
    timed = QUICK_RERANKS_TIMED if options.quick else RERANKS_TIMED
    results = [measure(encoder, data, reranks_timed=timed) for data in sets]
    if len(sets) == 1:
        return {"dataset": names[0], **results[0]}
    values: dict[str, Scalar] = {"dataset": ", ".join(names)}
    for name, result in zip(names, results, strict=True):
        values |= {f"{name}_{key}": value for key, value in result.items()}
    averaged = [key for key in results[0] if key.endswith((*MEASURES, "ms_per_query"))]
    return values | {f"average_{key}": fmean(result[key] for result in results) for key in averaged}
