"""Ranking quality on retrieval sets in the BEIR layout: pooled vectors, codes and their prefixes, words, and reranking.

The rankings, measures and intervals are those of ``zenso.evaluation``; here are several sets, and averages over them.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from bench.report import Scalar, left_out, progress
from bench.retrieval_sets import add_data_argument, read_all
from bench.sentence_transformers_peer import SentenceTransformersEncoder
from zenso import models
from zenso.evaluation.measures import MEASURES, measure
from zenso.evaluation.rankings import DEPTH, OnProgress, rank
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.evaluation.significance import interval
from zenso.zen import load_encoder

NAME = "quality"
MODEL = "all-MiniLM-L6-v2"
_PEER_BATCH = 16  # texts
RERANKS_TIMED, QUICK_RERANKS_TIMED = 8, 2  # each embeds a hundred documents, which takes seconds


def _shown(bars: Progress, name: str) -> OnProgress:
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(f"{name}: {what}", total=total)
        bars.update(tasks[what], completed=done)

    return show


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


def _sentence_transformers(data: RetrievalSet, python: Path | None) -> dict[str, float | int | None]:
    """Measure the cosine of pooled float vectors as sentence-transformers computes them; ties by lower row."""
    if python is None:
        return {f"sentence_transformers_{key}": None for key in MEASURES}
    folder, tokens = models.fetch(MODEL), int(models.load_artifact(MODEL).config["max_tokens"])
    with closing(SentenceTransformersEncoder(python, folder, [*data.documents, *data.queries], tokens)) as peer:
        _, vectors = peer.encode(_PEER_BATCH, os.cpu_count() or 1)
    documents, queries = np.split(vectors, [len(data.documents)])
    order = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :DEPTH]
    measured = measure(data, list(order.astype(np.int64)))
    return {f"sentence_transformers_{key}": float(value.mean()) for key, value in measured.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    add_data_argument(parser)
    parser.add_argument(
        "--sentence-transformers",
        type=Path,
        metavar="PYTHON",
        help="interpreter of an environment that has sentence-transformers, to compare with it",
    )


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure every set; with several, keys start with a set's name, and averages follow."""
    sets = read_all(options.data, quick=options.quick)
    names = [data.name for data in sets]
    encoder = load_encoder(MODEL)
    values: dict[str, Scalar] = {"dataset": ", ".join(names)}
    gained: list[dict[str, NDArray[np.float64]]] = []
    results: list[dict[str, float | int | None]] = []
    if options.sentence_transformers is None:
        left_out("sentence-transformers", "give --sentence-transformers PYTHON; bench/README.md says how to get one")
    for data in sets:
        timed = min(QUICK_RERANKS_TIMED if options.quick else RERANKS_TIMED, len(data.queries))
        result = _sentence_transformers(data, options.sentence_transformers)
        gained.append({})
        with progress() as bars:
            rankings = rank(encoder, data, reranks_timed=timed, on_progress=_shown(bars, data.name))
        for name, ranking in rankings.items():
            measured = measure(data, ranking.rows)
            gained[-1][name] = measured["ndcg_at_10"]
            result |= {f"{name}_{key}": float(value.mean()) for key, value in measured.items()}
            result[f"{name}_ms_per_query"] = ranking.milliseconds
            result |= {f"{name}_{key}": value for key, value in ranking.shares().items()}
        results.append({**result, **compare(gained[-1:])})
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
    columns = {key: [value for result in results if (value := result[key]) is not None] for key in averaged}
    values |= {f"average_{key}": fmean(column) if column else None for key, column in columns.items()}
    return values | {f"average_{key}": value for key, value in compare(gained).items()}
