"""Cross-model retrieval: documents embedded by one model, queries by another one that is aligned to it.

The documents are those of a memory: pooled vectors and codes of all-MiniLM-L6-v2. Queries of all-mpnet-base-v2 are
taken into its space by the shipped aligner: by its linear map of pooled vectors, and by its map of token states. Beside
them stand queries of the documents' own model, and the other model with documents of its own.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from rich.progress import Progress

from bench.report import Scalar, progress
from bench.retrieval_sets import add_data_argument, read_all
from zenso import models
from zenso.bitdelta import top_k
from zenso.canonical import CanonicalEncoder, Role
from zenso.evaluation.measures import Values, measure
from zenso.evaluation.rankings import DEPTH, Rows
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.evaluation.significance import interval
from zenso.zen import AlignedEncoder, DocumentEmbeddings, Lookup, QueryEmbedding, ZenEncoder, load_encoder

NAME = "cross_model"
MODEL, OTHER = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
MEASURES = {"recall_at_5": "R@5", "recall_at_10": "R@10", "ndcg_at_10": "nDCG@10"}
RANKINGS = ("native_pooled", "native_codes", "other_pooled", "aligned_pooled", "aligned_codes")


def _kept(cache: Path | None, what: str, texts: Sequence[str], provenance: str) -> Path | None:
    """Return where the embeddings of some texts by some model are kept."""
    if cache is None:
        return None
    digest = blake3("\0".join([provenance, *texts]).encode("utf-8", "surrogatepass")).hexdigest()
    return cache / f"{digest[:16]}-{what}"


def _documents(encoder: ZenEncoder, data: RetrievalSet, cache: Path | None, bars: Progress) -> DocumentEmbeddings:
    """Embed the documents as a memory does."""
    kept = _kept(cache, f"{data.name}-codes.npz", data.documents, encoder.provenance.to_json())
    if kept is not None and kept.exists():
        with np.load(kept) as arrays:
            sets = np.split(arrays["sets"], np.cumsum(arrays["sizes"])[:-1])
            return DocumentEmbeddings(arrays["vectors"], arrays["codes"], arrays["counts"], sets)
    task = bars.add_task(f"{data.name}: documents, {MODEL}", total=len(data.documents))
    made = encoder.encode_documents(data.documents, lambda done: bars.advance(task, done))
    if kept is not None:
        sizes = np.array([len(one) for one in made.token_sets])
        arrays = {"vectors": made.vectors, "codes": made.codes, "counts": made.token_counts}
        np.savez(kept, **arrays, sets=np.concatenate(made.token_sets), sizes=sizes)
    return made


def _vectors(encoder: CanonicalEncoder, data: RetrievalSet, cache: Path | None, bars: Progress) -> NDArray[np.int16]:
    """Embed the documents with the other model."""
    kept = _kept(cache, f"{data.name}-vectors.npy", data.documents, encoder.provenance.to_json())
    if kept is not None and kept.exists():
        stored: NDArray[np.int16] = np.load(kept)
        return stored
    task = bars.add_task(f"{data.name}: documents, {OTHER}", total=len(data.documents))
    made = encoder.encode(data.documents, on_progress=lambda done: bars.advance(task, done)).pooled
    if kept is not None:
        np.save(kept, made)
    return made


def _nearest(documents: NDArray[np.int16], queries: NDArray[np.int16]) -> list[Rows]:
    """Rank by the integer dot product of pooled vectors; ties by lower row."""
    # Directions of length 32767, each coordinate within half a unit: below 2^31 by Cauchy-Schwarz.
    wide = documents.astype(np.int32)
    return [np.argsort(-(wide @ query.astype(np.int32)), kind="stable")[:DEPTH] for query in queries]


def _count_tokens(documents: DocumentEmbeddings) -> Lookup:
    """Count the documents that hold each token, as a memory does."""
    counts = np.bincount(np.concatenate(documents.token_sets), minlength=1)

    def lookup(tokens: NDArray[np.int32]) -> tuple[int, NDArray[np.int64]]:
        known = tokens < len(counts)
        return len(documents.codes), np.where(known, counts[np.where(known, tokens, 0)], 0)

    return lookup


def rank(
    native: ZenEncoder,
    aligned: AlignedEncoder,
    other: CanonicalEncoder | None,
    data: RetrievalSet,
    cache: Path | None,
    bars: Progress,
) -> dict[str, list[Rows]]:
    """Rank the documents of one set for all of its queries, in every way; without ``other`` not in its own space."""
    documents = _documents(native, data, cache, bars)
    frequencies = _count_tokens(documents)
    task = bars.add_task(f"{data.name}: queries", total=2 * len(data.queries))

    def ask(encoder: ZenEncoder) -> list[QueryEmbedding]:
        asked = []
        for query in data.queries:
            asked.append(encoder.encode_query(query, frequencies))
            bars.advance(task)
        return asked

    rankings = {}
    for name, asked in (("native", ask(native)), ("aligned", ask(aligned))):
        rankings[f"{name}_pooled"] = _nearest(documents.vectors, np.stack([one.vector for one in asked]))
        rankings[f"{name}_codes"] = [top_k(one.prepare(), documents.codes, DEPTH)[0] for one in asked]
    if other is not None:
        vectors = _vectors(other, data, cache, bars)
        rankings["other_pooled"] = _nearest(vectors, other.encode(data.queries, role=Role.QUERY).pooled)
    return rankings


def compare(measured: Sequence[Mapping[str, Values]]) -> dict[str, float | None]:
    """Return each measure of each ranking as a mean over sets, with its interval."""
    values: dict[str, float | None] = {}
    for name in RANKINGS:
        for key in MEASURES:
            if name not in measured[0]:
                values |= dict.fromkeys((f"{name}_{key}", f"{name}_{key}_low", f"{name}_{key}_high"))
                continue
            parts = [one[name][key] for one in measured]
            values[f"{name}_{key}"] = fmean(float(part.mean()) for part in parts)
            values[f"{name}_{key}_low"], values[f"{name}_{key}_high"] = interval(parts)
    return values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add_data_argument(parser)
    parser.add_argument(
        "--no-same-model",
        action="store_true",
        help=f"do not embed the documents with {OTHER}, which takes most of the time",
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep embedded documents there for another run")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure every set; with several, keys start with a set's name, and averages follow."""
    sets = read_all(options.data, quick=options.quick)
    names = [data.name for data in sets]
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    native, aligned = load_encoder(MODEL), AlignedEncoder(OTHER, MODEL)
    other = None if options.no_same_model else CanonicalEncoder(models.load_artifact(OTHER))
    measured: list[dict[str, Values]] = []
    with progress() as bars:
        for data in sets:
            rankings = rank(native, aligned, other, data, options.cache, bars)
            measured.append({name: measure(data, rows, MEASURES) for name, rows in rankings.items()})
    values: dict[str, Scalar] = {
        "dataset": ", ".join(names),
        "model": MODEL,
        "other_model": OTHER,
        "aligner_digest": aligned.aligner.digest.hex(),
    }
    for data, one in zip(sets, measured, strict=True):
        before = f"{data.name}_" if len(sets) > 1 else ""
        counts = {"documents": len(data.documents), "queries": len(data.queries)}
        values |= {f"{before}{key}": value for key, value in (counts | compare([one])).items()}
    if len(sets) > 1:
        values |= {f"average_{key}": value for key, value in compare(measured).items()}
    return values
