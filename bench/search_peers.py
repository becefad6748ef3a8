"""Indexes of other libraries over the pooled vectors of a collection, one thread each, built in pieces.

None of them knows of token slots, so what they are measured against is their own truth: exact search among the pooled
vectors, by inner product.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.collection import Collection
from zenso.bitdelta import slot_bits
from zenso.bitdelta.format import HEADER_BYTES, SLOT_BYTES

K = 10
# Values of the libraries' own settings; the search of a graph looks at so many neighbours.
CONNECTIVITY, BUILD_EXPANSION, SEARCH_EXPANSION = 16, 128, 64
WIDTH = 384

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Peer:
    """What was measured of one index."""

    build_seconds: float
    milliseconds: list[float]  # of each query
    recall_at_10: float
    bytes_per_document: float


def unit(vectors: NDArray[np.int16]) -> Floats:
    """Return canonical vectors (n, 384) as floats of length 1."""
    floats = vectors.astype(np.float32)
    return np.asarray(floats / np.linalg.norm(floats, axis=1, keepdims=True), np.float32)


def pooled_truth(collection: Collection, queries: NDArray[np.int16]) -> NDArray[np.int64]:
    """Find each query's ten nearest rows among the pooled vectors, exactly: int64 (queries, 10)."""
    asked = queries.astype(np.float64)
    rows: NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    scores: NDArray[np.float64] = np.empty((len(queries), 0))
    first = 0
    for _, vectors, _ in collection.copies():
        # Products of whole numbers below 2^53 are exact in float64.
        part = asked @ vectors.T.astype(np.float64)
        near = np.argpartition(-part, min(K, len(vectors)) - 1, axis=1)[:, :K]
        rows = np.concatenate((rows, near + first), axis=1)
        scores = np.concatenate((scores, np.take_along_axis(part, near, axis=1)), axis=1)
        first += len(vectors)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
    return rows


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the share of the true rows (queries, 10) that were found."""
    return float(
        np.mean([len(set(one) & set(true)) / K for one, true in zip(found.tolist(), truth.tolist(), strict=True)])
    )


def _ask(answer: Callable[[int], NDArray[Any]], count: int, truth: NDArray[np.int64]) -> tuple[list[float], float]:
    answer(0)
    milliseconds, rows = [], []
    for query in range(count):
        began = time.perf_counter()
        found = answer(query)
        milliseconds.append(1000 * (time.perf_counter() - began))
        rows.append(np.asarray(found, np.int64).reshape(-1))
    return milliseconds, recall(np.stack(rows), truth)


def measure_faiss(kind: str, collection: Collection, queries: Floats, truth: NDArray[np.int64]) -> Peer:
    """Measure ``IndexRaBitQ`` or ``IndexRaBitQFastScan``, one bit a dimension."""
    import faiss  # noqa: PLC0415 - what is measured without it needs no installation

    faiss.omp_set_num_threads(1)
    index = getattr(faiss, kind)(WIDTH, faiss.METRIC_INNER_PRODUCT)
    began = time.perf_counter()
    index.train(unit(collection.embeddings.vectors))
    for _, vectors, _ in collection.copies():
        index.add(unit(vectors))
    seconds = time.perf_counter() - began
    milliseconds, share = _ask(lambda query: index.search(queries[query : query + 1], K)[1], len(queries), truth)
    return Peer(seconds, milliseconds, share, len(faiss.serialize_index(index)) / collection.size)


def measure_usearch(dtype: str, collection: Collection, queries: NDArray[np.int16], truth: NDArray[np.int64]) -> Peer:
    """Measure a graph over int8 vectors (``i8``), or over slot 0 of the codes by Hamming distance (``b1``)."""
    from usearch.index import Index  # noqa: PLC0415 - as above

    index = Index(
        ndim=WIDTH,
        metric="hamming" if dtype == "b1" else "ip",
        dtype=dtype,
        connectivity=CONNECTIVITY,
        expansion_add=BUILD_EXPANSION,
        expansion_search=SEARCH_EXPANSION,
    )
    asked = slot_bits(queries) if dtype == "b1" else _eight_bits(queries)
    seconds = 0.0
    for first, vectors in _rows(collection, dtype):
        began = time.perf_counter()
        index.add(np.arange(first, first + len(vectors)), vectors, threads=1)
        seconds += time.perf_counter() - began
    milliseconds, share = _ask(lambda query: index.search(asked[query], K, threads=1).keys, len(asked), truth)
    return Peer(seconds, milliseconds, share, index.serialized_length / collection.size)


def _eight_bits(vectors: NDArray[np.int16]) -> NDArray[np.int8]:
    return np.clip(np.rint(unit(vectors) * 127 * 4), -127, 127).astype(np.int8)


def _rows(collection: Collection, dtype: str) -> Iterator[tuple[int, NDArray[Any]]]:
    first = 0
    for _, vectors, codes in collection.copies():
        slot = np.ascontiguousarray(codes[:, HEADER_BYTES : HEADER_BYTES + SLOT_BYTES])
        yield first, slot if dtype == "b1" else _eight_bits(vectors)
        first += len(vectors)
