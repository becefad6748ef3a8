"""Ranking quality on retrieval sets in the BEIR layout: pooled vectors, codes and their prefixes, words, and reranking.

The rankings, measures and intervals are those of ``zenso.evaluation``; here are several sets, and averages over them.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from bench.report import Scalar, progress
from zenso.errors import InputError
from zenso.evaluation.measures import MEASURES, measure
from zenso.evaluation.rankings import OnProgress, rank
from zenso.evaluation.retrieval_set import RetrievalSet, read_retrieval_set
from zenso.evaluation.significance import interval
from zenso.zen import load_encoder

NAME = "quality"
FOLDERS = [Path("../shared/data") / name for name in ("scifact", "nq_utd", "covidqa")]
QUICK_DOCUMENTS, QUICK_QUERIES = 500, 50
RERANKS_TIMED, QUICK_RERANKS_TIMED = 8, 2  # each embeds a hundred documents, which takes seconds


def read(folder: Path, *, quick: bool) -> RetrievalSet:
    """Read a retrieval set, for a quick run only a part of it."""
    if quick:
        return read_retrieval_set(folder, queries=QUICK_QUERIES, documents=QUICK_DOCUMENTS)
    return read_retrieval_set(folder)


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="FOLDER",
        help=f"a retrieval set in the BEIR layout; again for several; default: {', '.join(map(str, FOLDERS))}",
    )


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure every set; with several, keys start with a set's name, and averages follow."""
    sets = [read(folder, quick=options.quick) for folder in options.data or FOLDERS]
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
        with progress() as bars:
            rankings = rank(encoder, data, reranks_timed=timed, on_progress=_shown(bars, data.name))
        for name, ranking in rankings.items():
            measured = measure(data, ranking.rows)
            gained[-1][name] = measured["ndcg_at_10"]
            result |= {f"{name}_{key}": float(value.mean()) for key, value in measured.items()}
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
