"""Ranking quality of dense vectors by a plain dot product: 384, 1,920, 3,840 and 7,680 dimensions.

Each query is embedded twice: as a query, and as a document, which is what a client gets that does not tell the two
apart.
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bench.quality import MODEL
from bench.report import Scalar, progress
from bench.retrieval_sets import add_data_argument, read_all
from zenso.canonical import Role
from zenso.evaluation.measures import measure
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.zen import DENSE_DIMENSIONS, ZenEncoder, cut_dense, load_encoder
from zenso.zen.dense import load_dense_slots

NAME = "dense"
_DEPTH = 100
_AT_ONCE = 64  # documents whose token states are in memory together: 200 kB each at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add_data_argument(parser)


def _rank(queries: NDArray[np.int16], documents: NDArray[np.int16]) -> list[NDArray[np.int64]]:
    """Rank by dot product, ties by lower row."""
    # Whole numbers below 2^31 by Cauchy-Schwarz, on the way too, so float64 adds them exactly.
    scores = queries.astype(np.float64) @ documents.astype(np.float64).T
    return list(np.argsort(-scores, axis=1, kind="stable")[:, :_DEPTH].astype(np.int64))


def _embed(encoder: ZenEncoder, texts: Sequence[str], advance: Callable[[int], None]) -> dict[int, NDArray[np.int16]]:
    """Embed documents at every size, running the model once."""
    slots = load_dense_slots(MODEL)
    pooled, whole = [], []
    for start in range(0, len(texts), _AT_ONCE):
        for states in encoder.encode_tokens(texts[start : start + _AT_ONCE], advance):
            pooled.append(states.vector)
            whole.append(slots.embed(states.vector, states.tokens, states.ids, Role.DOCUMENT))
    cut = {size: cut_dense(np.stack(whole), size) for size in DENSE_DIMENSIONS[1:]}
    return {DENSE_DIMENSIONS[0]: np.stack(pooled), **cut}


def _measure(encoder: ZenEncoder, data: RetrievalSet) -> dict[str, float]:
    with progress() as bars:
        task = bars.add_task(f"{data.name}: embed documents", total=len(data.documents))
        documents = _embed(encoder, data.documents, lambda done: bars.advance(task, done))
    values = {}
    for name, role in (("typed", Role.QUERY), ("untyped", Role.DOCUMENT)):
        for size in DENSE_DIMENSIONS:
            queries = encoder.encode_dense(data.queries, size, role=role).vectors
            gains = measure(data, _rank(queries, documents[size]))["ndcg_at_10"]
            values[f"dense_{size}_{name}_ndcg_at_10"] = float(gains.mean())
    return values


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure every set, and take the average over sets."""
    sets = read_all(options.data, quick=options.quick)
    names = [data.name for data in sets]
    encoder = load_encoder(MODEL)
    results = [_measure(encoder, data) for data in sets]
    values: dict[str, Scalar] = {"dataset": ", ".join(names), "provenance": encoder.dense_provenance.digest.hex()}
    for data, result in zip(sets, results, strict=True):
        values |= {f"{data.name}_documents": len(data.documents), f"{data.name}_queries": len(data.queries)}
        values |= {f"{data.name}_{key}": value for key, value in result.items()}
    return values | {f"average_{key}": fmean(result[key] for result in results) for key in results[0]}
