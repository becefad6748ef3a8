"""Search in a large memory: how fast, how faithful to scoring every code, and beside other libraries.

The memory is a real one, filled through ``Memory.add`` with embeddings that are ready (``bench/collection.py``), so
that a million documents need no million runs of the model. What is true is computed apart from it, from the same
codes. Everything runs on one thread.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import cast

import numba
import numpy as np
from numpy.typing import NDArray

from bench import search_peers
from bench.collection import FLIPPED, Collection, choose_queries, embed, save_queries
from bench.ready import ReadyEncoder
from bench.report import Scalar, progress
from bench.retrieval_sets import read_all
from zenso.bitdelta import score
from zenso.bitdelta.format import SLOT_BYTES
from zenso.errors import InputError
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.memory import Memory, SearchSettings
from zenso.memory.matrix import View
from zenso.zen import DocumentEmbeddings, QueryEmbedding, ZenEncoder, load_encoder

K = 10
DOCUMENTS, QUICK_DOCUMENTS = 1_000_000, 30_000
QUERIES, QUICK_QUERIES = 200, 16
CHANGES, QUICK_CHANGES = 1_000, 40  # deletes, and filters
PARTS = 100  # a document's metadata says which of so many parts it is in
ROUNDS = 50  # of scans and of reading memory, in turn
READ_BYTES = 2**29
EXPLAINED = 25  # queries
FRESH_PROCESSES = 3
ONE_THREAD = SearchSettings(threads=1)
PEERS = ("faiss_rabitq", "faiss_rabitq_fastscan", "usearch_i8", "usearch_b1")
PEER_KEYS = ("p50_ms", "p99_ms", "recall_at_10_pooled", "build_seconds", "bytes_per_document")


# --- the memory -------------------------------------------------------------------------------------------------


def document_id(row: int) -> str:
    """Return the id of a row of the collection."""
    return f"{row:08d}"


def part_of(row: int) -> int:
    """Return the part that a row's metadata names; parts are spread over all sets and copies."""
    return row * 7919 % PARTS


def build(folder: Path, encoder: ZenEncoder, collection: Collection) -> float:
    """Fill a memory through its own ``add`` and return the seconds that this and closing it took."""
    ready = ReadyEncoder(encoder.provenance)
    seconds, row = 0.0, 0
    with progress() as bars, Memory.open(folder, encoder=cast("ZenEncoder", ready)) as memory:
        task = bars.add_task("build the memory", total=collection.size)
        for copy, vectors, codes in collection.copies():
            rows = range(row, row + len(codes))
            texts = [collection.text(r) for r in rows]
            counts, sets = collection.embeddings.token_counts, collection.embeddings.token_sets
            ready.expect(texts, DocumentEmbeddings(vectors, codes, counts[: len(codes)], sets[: len(codes)]))
            ids = [document_id(r) for r in rows]
            metadata = [{"set": collection.sets[i], "copy": copy, "part": part_of(r)} for i, r in enumerate(rows)]
            began = time.perf_counter()
            memory.add(texts, ids=ids, metadata=metadata)
            seconds += time.perf_counter() - began
            row += len(codes)
            bars.advance(task, len(codes))
        began = time.perf_counter()
        memory.close()
    return seconds + time.perf_counter() - began


def exhaustive(collection: Collection, queries: Sequence[QueryEmbedding]) -> NDArray[np.int64]:
    """Return the score that the tenth best of all codes has for each query, from the codes and nothing else."""
    prepared = [query.prepare() for query in queries]
    best: NDArray[np.int64] = np.full((len(queries), 0), 0, np.int64)
    with progress() as bars:
        task = bars.add_task("score every code", total=collection.size)
        for _, _, codes in collection.copies():
            part = np.stack([score(query, codes) for query in prepared])
            best = np.concatenate((best, part), axis=1)
            best = -np.sort(-best, axis=1)[:, :K]
            bars.advance(task, len(codes))
    return best[:, K - 1]


class Scores:
    """Scores of single documents, computed from the collection's codes."""

    def __init__(self, collection: Collection, wanted: set[int]) -> None:
        self._codes: dict[int, NDArray[np.uint8]] = {}
        first = 0
        for _, _, codes in collection.copies():
            self._codes |= {row: codes[row - first] for row in range(first, first + len(codes)) if row in wanted}
            first += len(codes)

    def of(self, query: QueryEmbedding, rows: Sequence[int]) -> NDArray[np.int64]:
        """Score some rows."""
        return score(query.prepare(), np.stack([self._codes[row] for row in rows]))


# --- what is measured -------------------------------------------------------------------------------------------


def timed_searches(memory: Memory, queries: Sequence[str], **options: object) -> tuple[list[float], list[list[int]]]:
    """Search every query once, after a first one that is not counted: milliseconds, and the rows found."""
    memory.search(queries[0], K, **options)  # type: ignore[arg-type]
    milliseconds, found = [], []
    for query in queries:
        began = time.perf_counter()
        hits = memory.search(query, K, **options)  # type: ignore[arg-type]
        milliseconds.append(1000 * (time.perf_counter() - began))
        found.append([int(hit.id) for hit in hits])
    return milliseconds, found


def percentiles(name: str, milliseconds: Sequence[float]) -> dict[str, Scalar]:
    """Return the median and the 99th percentile under their keys."""
    return {f"{name}_p50_ms": median(milliseconds), f"{name}_p99_ms": float(np.quantile(milliseconds, 0.99))}


def measure_recall(
    memory: Memory, collection: Collection, queries: Sequence[str], embedded: Sequence[QueryEmbedding]
) -> dict[str, Scalar]:
    """Compare what is found with the ten best of all codes; documents that tie with the tenth count as one of them."""
    found = [[int(hit.id) for hit in memory.search(query, K, hybrid=False)] for query in queries]
    threshold = exhaustive(collection, embedded)
    scores = Scores(collection, {row for rows in found for row in rows})
    shares = [
        float(np.mean(scores.of(query, rows) >= least))
        for query, rows, least in zip(embedded, found, threshold, strict=True)
    ]
    return {"recall_at_10": fmean(shares), "recall_at_10_worst_query": min(shares)}


@numba.njit(nogil=True)
def _read(words: NDArray[np.uint64]) -> np.uint64:
    total = np.uint64(0)
    for i in range(len(words)):
        total ^= words[i]
    return total


def measure_scan(memory: Memory, embedded: Sequence[QueryEmbedding]) -> dict[str, Scalar]:
    """Time the scan alone, in turn with reading a large array, so that both meet the same machine."""
    view = _view(memory)
    keep = max(ONE_THREAD.prefix_rows, len(view.table) // ONE_THREAD.prefix_share)
    column = len(view.table) * SLOT_BYTES
    # As much is read as is scanned, each time of another part of an array too large for any cache.
    words = np.ones(max(READ_BYTES, 2 * column) // 8, np.uint64)
    span = column // 8
    _read(words)
    scans, reads = [], []
    for turn in range(ROUNDS):
        planes = _planes(embedded[turn % len(embedded)])
        start = turn * span % (len(words) - span)
        began = time.perf_counter()
        view.table.scan(planes, keep, threads=1)
        scanned = time.perf_counter()
        _read(words[start : start + span])
        scans.append(scanned - began)
        reads.append(time.perf_counter() - scanned)
    return {
        "scan_kept": keep,
        "scan_ms": 1000 * median(scans),
        "scan_gb_per_s": column / median(scans) / 1e9,
        "memory_gb_per_s": column / median(reads) / 1e9,
        "scan_share_of_bandwidth": median(reads) / median(scans),
        "scan_best_gb_per_s": column / min(scans) / 1e9,
        "memory_best_gb_per_s": column / min(reads) / 1e9,
    }


def scan_recall(memory: Memory, embedded: Sequence[QueryEmbedding], truth: NDArray[np.int64]) -> float:
    """Return the share of the ten nearest pooled vectors that the scan alone finds; rows are in order of adding."""
    table = _view(memory).table
    found = []
    for query in embedded:
        nearest = table.scan(_planes(query), K)
        found.append(nearest.rows[np.argsort(nearest.costs, kind="stable")[:K]])
    return search_peers.recall(np.stack(found), truth)


def _view(memory: Memory) -> View:
    with memory._database.read() as connection:  # noqa: SLF001 - the scan is no public call
        view = memory._matrix.view(connection)  # noqa: SLF001
    assert view is not None
    return view


def _planes(query: QueryEmbedding) -> NDArray[np.uint64]:
    return query.prepare().slot_planes


def measure_stages(memory: Memory, queries: Sequence[str]) -> dict[str, Scalar]:
    """Return what each stage took and left, as a search explains it: medians."""
    times: dict[str, list[float]] = {}
    left: dict[str, list[int]] = {}
    for query in queries[:EXPLAINED]:
        explanation = memory.search(query, K, hybrid=False, explain=True).explanation
        for stage in explanation.stages if explanation else ():
            times.setdefault(stage.name, []).append(1000 * stage.seconds)
            left.setdefault(stage.name, []).append(len(stage.candidates))
    values: dict[str, Scalar] = {}
    for name in ("scan", "prefix", "codes"):
        values[f"stage_{name}_ms"] = median(times[name]) if name in times else None
        values[f"stage_{name}_left"] = median(left[name]) if name in left else None
    return values


def measure_cold(folder: Path, queries: Path) -> dict[str, Scalar]:
    """Open the memory in fresh processes: the first after its files were dropped from the page cache, if possible."""
    dropped = _drop_from_page_cache(folder)
    cold = _fresh_process(folder, queries)
    warm = [_fresh_process(folder, queries) for _ in range(FRESH_PROCESSES)]
    return {
        "page_cache_dropped": dropped,
        "cold_open_seconds": cold["open_seconds"],
        "cold_first_answer_seconds": cold["first_answer_seconds"],
        **{name: median(one[name] for one in warm) for name in warm[0]},
    }


def _fresh_process(folder: Path, queries: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.search_cold", str(folder), str(queries), "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _drop_from_page_cache(folder: Path) -> bool:
    if not hasattr(os, "posix_fadvise"):
        return False
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def measure_changes(memory: Memory, queries: Sequence[str], count: int) -> dict[str, Scalar]:
    """Delete documents one by one and filter at random: what is deleted or filtered out must never appear.

    Every other document that is deleted is the best hit of the query that is asked next.
    """
    chance = random.Random(7680)
    rows = [int(value) for value in memory.ids()]
    before, gone = len(rows), set[int]()
    seen = {"deleted": 0, "filtered": 0}
    milliseconds: list[float] = []
    with progress() as bars:
        task = bars.add_task("delete and filter", total=count)
        for number in range(count):
            query = queries[number % len(queries)]
            victim = chance.choice(rows) if number % 2 else int(memory.search(query, 1, hybrid=False)[0].id)
            memory.delete(document_id(victim))
            gone.add(victim)
            part = chance.randrange(PARTS)
            began = time.perf_counter()
            filtered = memory.search(query, K, where={"part": part}, hybrid=False)
            milliseconds.append(1000 * (time.perf_counter() - began))
            everything = memory.search(query, K, hybrid=False)
            seen["deleted"] += sum(int(hit.id) in gone for hit in (*filtered, *everything))
            seen["filtered"] += sum(part_of(int(hit.id)) != part for hit in filtered)
            assert len(filtered) == len(everything) == K
            bars.advance(task)
    assert len(memory) == before - len(gone)
    return {
        "deletes": len(gone),
        "filters": count,
        "deleted_seen": seen["deleted"],
        "filtered_seen": seen["filtered"],
        **percentiles("filtered_search", milliseconds),
    }


def measure_peers(collection: Collection, vectors: NDArray[np.int16], truth: NDArray[np.int64]) -> dict[str, Scalar]:
    """Measure the other libraries on the same pooled vectors."""
    asked = search_peers.unit(vectors)
    measurements: dict[str, Callable[[], search_peers.Peer]] = {
        "faiss_rabitq": lambda: search_peers.measure_faiss("IndexRaBitQ", collection, asked, truth),
        "faiss_rabitq_fastscan": lambda: search_peers.measure_faiss("IndexRaBitQFastScan", collection, asked, truth),
        "usearch_i8": lambda: search_peers.measure_usearch("i8", collection, vectors, truth),
        "usearch_b1": lambda: search_peers.measure_usearch("b1", collection, vectors, truth),
    }
    values: dict[str, Scalar] = {}
    with progress() as bars:
        task = bars.add_task("other libraries", total=len(measurements))
        for name, measure in measurements.items():
            peer = measure()
            values |= percentiles(name, peer.milliseconds)
            values[f"{name}_recall_at_10_pooled"] = peer.recall_at_10
            values[f"{name}_build_seconds"] = peer.build_seconds
            values[f"{name}_bytes_per_document"] = peer.bytes_per_document
            bars.advance(task)
    return values


# --- the command ------------------------------------------------------------------------------------------------


def _folder(argument: str) -> Path:
    folder = Path(argument)
    if not (folder / "corpus.jsonl").is_file():
        message = f"{folder} has no corpus.jsonl; give a folder in the BEIR layout"
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
        help="a retrieval set in the BEIR layout, whose documents are embedded; give it again for several",
    )
    parser.add_argument("--documents", type=int, metavar="N", help=f"documents of the memory (default: {DOCUMENTS})")
    parser.add_argument("--queries", type=int, metavar="N", help=f"queries asked (default: {QUERIES})")
    parser.add_argument("--embeddings", type=Path, metavar="FILE", help="keep the embeddings here for another run")
    parser.add_argument(
        "--no-peers", action="store_true", help="leave out the other libraries, whose graphs take most of the time"
    )
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="make the memory below this folder")
    parser.add_argument(
        "--memory",
        type=Path,
        metavar="FOLDER",
        help="measure this memory, which a run with the same embeddings filled; the documents deleted are gone",
    )


@contextmanager
def _place(below: Path | None) -> Iterator[Path]:
    if below is not None:
        below.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="zenso-bench-", dir=below) as folder:
        yield Path(folder)


def _sizes(options: argparse.Namespace, sets: Sequence[RetrievalSet]) -> tuple[int, int]:
    documents = options.documents or (QUICK_DOCUMENTS if options.quick else DOCUMENTS)
    queries = options.queries or (QUICK_QUERIES if options.quick else QUERIES)
    real = sum(len(data.documents) for data in sets)
    if documents < real:
        message = f"--documents is {documents}; the sets of --data alone have {real}"
        raise InputError(message)
    return documents, queries


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Build the memory, measure it, then the others; keys as in ``bench/README.md``."""
    sets = read_all(options.data, quick=options.quick)
    documents, asked = _sizes(options, sets)
    encoder = load_encoder(threads=1)
    collection = embed(encoder, sets, documents, options.embeddings)
    queries = choose_queries(sets, asked)
    embedded = [encoder.encode_query(query, collection.frequencies) for query in queries]
    ready = cast("ZenEncoder", ReadyEncoder(encoder.provenance, dict(zip(queries, embedded, strict=True))))
    values: dict[str, Scalar] = {
        "dataset": ", ".join(data.name for data in sets),
        "documents": documents,
        "real_documents": len(collection.texts),
        "flipped_share": FLIPPED,
        "queries": len(queries),
    }
    vectors = np.stack([query.vector for query in embedded])
    truth = search_peers.pooled_truth(collection, vectors)
    with _place(options.work) as place:
        folder = options.memory or place / "memory"
        seconds = build(folder, encoder, collection) if options.memory is None else None
        values |= {"build_seconds": seconds, "build_documents_per_s": documents / seconds if seconds else None}
        values |= _disk(folder, documents)
        save_queries(place / "queries.npz", queries, embedded)
        cold = measure_cold(folder, place / "queries.npz")
        for kind in ("resident", "anonymous"):
            cold[f"{kind}_bytes_per_document"] = float(cast("float", cold.pop(f"{kind}_bytes"))) / documents
        with Memory.open(folder, encoder=ready, settings=ONE_THREAD) as memory:
            milliseconds, _ = timed_searches(memory, queries, hybrid=False)
            values |= percentiles("search", milliseconds)
            values |= measure_scan(memory, embedded)
            values["scan_recall_at_10_pooled"] = scan_recall(memory, embedded, truth)
            values |= measure_stages(memory, queries)
            values |= measure_recall(memory, collection, queries, embedded)
        with Memory.open(folder, read_only=True, encoder=encoder, settings=ONE_THREAD) as memory:
            milliseconds, _ = timed_searches(memory, queries, hybrid=False)
            values |= percentiles("search_from_text", milliseconds)
            milliseconds, _ = timed_searches(memory, queries)
            values |= percentiles("hybrid_from_text", milliseconds)
        values |= cold
        with Memory.open(folder, encoder=ready, settings=ONE_THREAD) as memory:
            values |= measure_changes(memory, queries, QUICK_CHANGES if options.quick else CHANGES)
    if options.no_peers:
        return values | {f"{name}_{key}": None for name in PEERS for key in PEER_KEYS}
    return values | measure_peers(collection, vectors, truth)


def _disk(folder: Path, documents: int) -> dict[str, Scalar]:
    """Return the bytes of a document on disk: all, and those of the code matrix with its column."""
    segments = sum(path.stat().st_size for path in (folder / "codes").glob("*"))
    everything = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "disk_bytes_per_document": everything / documents,
        "disk_matrix_bytes_per_document": segments / documents,
    }
