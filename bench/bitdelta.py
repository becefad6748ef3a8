"""Recall against bytes: `frame` codes of MiniLM vectors beside every codec of FAISS of about the same size.

Every codec, ours too, learned from the same texts, none of which is tested on. The truth is exact search with the
vectors that all of them encode.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from bench.bitdelta_texts import Texts, read_texts
from bench.faiss_codecs import CODECS, search
from bench.recall_plot import draw
from bench.report import Scalar, progress
from bench.retrieval_sets import DATA
from zenso.bitdelta import FrameCodebook, FrameQuery, decode, encode, prefix, score
from zenso.canonical import CanonicalEncoder, Role
from zenso.errors import InputError
from zenso.models import load_artifact

MODEL = "all-MiniLM-L6-v2"
SIZES = (52, 100, 148, 196, 244, 388, 484, 964)
K = 10
QUICK_DOCUMENTS, QUICK_QUERIES, QUICK_TRAINING = 240, 40, 600
ENCODES_TIMED = 1000
SCORES_TIMED = 5  # queries

Vectors = NDArray[np.int16]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        metavar="FOLDER",
        help=f"holds the sets scifact, nq_utd, covidqa, stsb, nli and squad11_dev; default: {DATA}",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the plot goes; default: beside the JSON")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="keep the vectors here, for the next run")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure, and draw the plot."""
    texts = read_texts(options.data)
    if options.quick:
        texts = Texts(*(_part(*pair) for pair in (
            (texts.documents, QUICK_DOCUMENTS), (texts.queries, QUICK_QUERIES), (texts.training, QUICK_TRAINING)
        )))  # fmt: skip
    with progress() as bars:
        documents, queries, training = _embed(texts, options.vectors, bars)
        codebook = FrameCodebook.shipped(MODEL)
        results: dict[str, Scalar] = {
            "model": MODEL,
            "documents": len(documents),
            "queries": len(queries),
            "training_vectors": len(training),
            "codebook_digest": codebook.digest.hex(),
            "codebook_bytes": len(codebook.to_bytes()),
        }
        truth = exact(documents, queries)
        hits = _measure_zenso(codebook, documents, queries, truth, bars, results)
        peers = _measure_faiss(training, documents, queries, truth, bars, results, quick=options.quick)
    results |= _compare(hits, peers, results)
    draw(options.plot or options.json.with_suffix(".png"), results, SIZES, [codec.name for codec in CODECS])
    return results


def _part(texts: list[str], count: int) -> list[str]:
    return [texts[i * len(texts) // count] for i in range(min(count, len(texts)))]


def _embed(texts: Texts, kept: Path | None, bars: Progress) -> tuple[Vectors, Vectors, Vectors]:
    """Embed documents, queries and training texts, or take them from an earlier run with as many texts."""
    counts = [len(texts.documents), len(texts.queries), len(texts.training)]
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as file:
            found = file["documents"], file["queries"], file["training"]
        if [len(part) for part in found] != counts:
            message = f"{kept} holds vectors of other texts; remove it, or give another --vectors"
            raise InputError(message)
        return found
    encoder = CanonicalEncoder(load_artifact(MODEL))
    task = bars.add_task("embed texts", total=sum(counts))

    def embed(part: list[str], role: Role) -> Vectors:
        return encoder.encode(part, role=role, on_progress=lambda done: bars.advance(task, done)).pooled

    documents, queries = embed(texts.documents, Role.DOCUMENT), embed(texts.queries, Role.QUERY)
    training = embed(texts.training, Role.DOCUMENT)
    if kept is not None:
        np.savez(kept, documents=documents, queries=queries, training=training)
    return documents, queries, training


def exact(documents: Vectors, queries: Vectors) -> NDArray[np.int64]:
    """Rows of the k best documents of each query, by float64 dot product; sums of these integers are exact in it."""
    wide = documents.astype(np.float64).T
    best = [np.argsort(-(query.astype(np.float64) @ wide), kind="stable")[:K] for query in queries]
    return np.stack(best)


def share_found(found: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Recall of each query."""
    return np.array([len(set(a.tolist()) & set(b.tolist())) / K for a, b in zip(found, truth, strict=True)])


def _measure_zenso(
    codebook: FrameCodebook,
    documents: Vectors,
    queries: Vectors,
    truth: NDArray[np.int64],
    bars: Progress,
    results: dict[str, Scalar],
) -> dict[int, NDArray[np.float64]]:
    """Recall of each query at each size, from the integer scores that a search uses."""
    hits = {}
    units = documents / np.linalg.norm(documents.astype(np.float64), axis=1, keepdims=True)
    prepared = [FrameQuery.of(query, codebook) for query in queries]
    task = bars.add_task("zenso", total=len(SIZES) * len(queries))
    longest = encode(documents, SIZES[-1], codebook)
    for size in SIZES:
        codes = encode(documents, size, codebook)
        sample = np.ascontiguousarray(documents[:ENCODES_TIMED])
        start = time.perf_counter()
        encode(sample, size, codebook)
        encode_ms = 1000 * (time.perf_counter() - start) / len(sample)
        found, cut = [], prefix(longest, size, codebook)
        start = time.perf_counter()
        for query in prepared[:SCORES_TIMED]:
            score(query, codes)
        seconds = time.perf_counter() - start
        cut_found = []
        for query in prepared:
            found.append(np.argsort(-score(query, codes), kind="stable")[:K])
            cut_found.append(np.argsort(-score(query, cut), kind="stable")[:K])
            bars.advance(task)
        decoded = decode(codes, codebook).astype(np.float64)
        cosines = (decoded * units).sum(axis=1) / np.linalg.norm(decoded, axis=1)
        hits[size] = share_found(np.stack(found), truth)
        results |= {
            f"zenso_{size}_recall_at_10": float(hits[size].mean()),
            f"zenso_{size}_prefix_recall_at_10": float(share_found(np.stack(cut_found), truth).mean()),
            f"zenso_{size}_mean_cosine": float(cosines.mean()),
            f"zenso_{size}_min_cosine": float(cosines.min()),
            f"zenso_{size}_encode_ms": encode_ms,
            f"zenso_{size}_codes_scored_per_s": len(codes) * min(SCORES_TIMED, len(prepared)) / seconds,
        }
    return hits


def _measure_faiss(
    training: Vectors,
    documents: Vectors,
    queries: Vectors,
    truth: NDArray[np.int64],
    bars: Progress,
    results: dict[str, Scalar],
    *,
    quick: bool,
) -> dict[str, NDArray[np.float64]]:
    """Recall of each query with each codec."""
    floats = [vectors.astype(np.float32) / np.float32(32767) for vectors in (training, documents, queries)]
    task = bars.add_task("faiss", total=len(CODECS))
    hits = {}
    for codec in CODECS:
        bars.update(task, description=f"faiss {codec.factory.format(width=documents.shape[1])}")
        size, found = search(codec, floats[0], floats[1], floats[2], K, quick=quick)
        hits[codec.name] = share_found(found, truth)
        results |= {f"{codec.name}_bytes": size, f"{codec.name}_recall_at_10": float(hits[codec.name].mean())}
        bars.advance(task)
    return hits


def _compare(
    hits: dict[int, NDArray[np.float64]], peers: dict[str, NDArray[np.float64]], results: dict[str, Scalar]
) -> dict[str, Scalar]:
    """Set each size against the better RaBitQ of the least bytes that are not fewer; where none is, of 8 bits.

    The standard error is that of the mean of the differences, query by query.
    """
    compared: dict[str, Scalar] = {}
    rabitq = {name: int(str(results[f"{name}_bytes"])) for name in peers if "rabitq" in name}
    for size in SIZES:
        nearest = min((count for count in rabitq.values() if count >= size), default=max(rabitq.values()))
        name = max((name for name, count in rabitq.items() if count == nearest), key=lambda name: peers[name].mean())
        compared |= _difference(f"zenso_{size}_minus_rabitq", hits[size] - peers[name])
        compared[f"zenso_{size}_rabitq"] = name
    return compared | _difference("zenso_52_minus_opq_48", hits[52] - peers["opq_48"])


def _difference(key: str, differences: NDArray[np.float64]) -> dict[str, Scalar]:
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return {key: float(differences.mean()), f"{key}_standard_error": error}
