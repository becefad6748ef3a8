"""Embeddings that many nodes report of each document, some of them hostile: what ranking is left of each rule.

Honest nodes see a paraphrase each, and some of them embed it with another model that is aligned. Hostile ones know all
honest reports of a document and agree among themselves. Ranks are by the dot product of queries' canonical vectors
with what a rule makes of the reports; the clean run is the mean of the honest ones.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from rich.progress import Progress

from bench.attacks import ATTACKS as ROW_ATTACKS
from bench.attacks import Floats
from bench.paraphrases import view
from bench.report import Scalar, progress
from bench.retrieval_sets import DATA, read
from zenso import models, robust
from zenso.canonical import CanonicalEncoder, Role
from zenso.errors import InputError
from zenso.evaluation.measures import measure
from zenso.evaluation.rankings import DEPTH
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.zen import load_aligner

MODEL, OTHER = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
MEASURES = {"ndcg_at_10": "nDCG@10", "recall_at_10": "R@10"}
# Percent that are hostile, and nodes of either kind: as near below it as so few can be.
NODES = {30: (21, 9), 49: (23, 22)}
_VIEWS = max(honest for honest, _ in NODES.values())
_OTHERS = 6  # every sixth honest node has the other model

Attack = Callable[[Floats, int, np.random.Generator, Floats], Floats]


def _collusion(honest: Floats, f: int, random: np.random.Generator, other: Floats) -> Floats:  # noqa: ARG001
    """Report the vector of another document."""
    return np.repeat(other[None], f, axis=0)


def _drift(times: float) -> Attack:
    """Move from the honest mean to another document, so many times as far as the median honest row lies from it."""

    def report(honest: Floats, f: int, random: np.random.Generator, other: Floats) -> Floats:  # noqa: ARG001
        mean = honest.mean(axis=0)
        aside = other - mean
        radius = times * np.median(np.linalg.norm(honest - mean, axis=1))
        return np.repeat((mean + aside * (radius / max(float(np.linalg.norm(aside)), 1e-9)))[None], f, axis=0)

    return report


def _alone(attack: Callable[[Floats, int, np.random.Generator], Floats]) -> Attack:
    return lambda honest, f, random, _: attack(honest, f, random)


ATTACKS: dict[str, Attack] = {
    **{name: _alone(attack) for name, attack in ROW_ATTACKS.items()},
    "collusion": _collusion,
    "drift": _drift(1.0),
    "drift_far": _drift(2.5),  # of the multiples from 1 to 4 what does most harm after mixing, at 49 %
}
RULES = tuple(
    f"{'mixed_' if mix else ''}{name}" for mix in (False, True) for name in robust.RULES if not (mix and name == "mean")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument(
        "--data", type=Path, default=DATA / "nq_utd", metavar="FOLDER", help=f"in the BEIR layout ({DATA / 'nq_utd'})"
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep embeddings there for another run")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    data = read(options.data, quick=options.quick)
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    native, other = (CanonicalEncoder(models.load_artifact(name)) for name in (MODEL, OTHER))
    queries = native.encode(data.queries, role=Role.QUERY).pooled.astype(np.float64)
    with progress() as bars:
        reports = _reports(data, native, other, options.cache, bars)
        values: dict[str, Scalar] = {
            "dataset": data.name,
            "documents": len(data.documents),
            "queries": len(data.queries),
            "model": MODEL,
            "other_model": OTHER,
        }
        values |= _quality("canonical", reports[:, 0], data, queries)
        for share, (honest, hostile) in NODES.items():
            values |= _attacked(reports[:, :honest], share, hostile, data, queries, bars)
    return values


def _reports(
    data: RetrievalSet, native: CanonicalEncoder, other: CanonicalEncoder, cache: Path | None, bars: Progress
) -> Floats:
    """Return what each honest node reports of each document, directions of length 1: (documents, nodes, 384)."""
    aligner = load_aligner(OTHER, MODEL)
    task = bars.add_task("reports of honest nodes", total=_VIEWS)
    reports = np.empty((len(data.documents), _VIEWS, 384))
    for node in range(_VIEWS):
        texts = [view(text, node) for text in data.documents]
        is_other = node % _OTHERS == _OTHERS - 1
        encoder = other if is_other else native
        vectors = _embedded(encoder, texts, cache)
        reports[:, node] = aligner.align_vectors(vectors) if is_other else vectors
        bars.advance(task)
    return np.asarray(reports / np.linalg.norm(reports, axis=2, keepdims=True))


def _embedded(encoder: CanonicalEncoder, texts: list[str], cache: Path | None) -> NDArray[np.int16]:
    if cache is None:
        return encoder.encode(texts).pooled
    name = blake3("\0".join([repr(encoder.provenance), *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = cache / f"{name}-vectors.npy"
    if not kept.exists():
        np.save(kept, encoder.encode(texts).pooled)
    stored: NDArray[np.int16] = np.load(kept)
    return stored


def _attacked(
    honest: Floats, share: int, hostile: int, data: RetrievalSet, queries: Floats, bars: Progress
) -> dict[str, Scalar]:
    """Measure all rules under all attacks."""
    clean = honest.mean(axis=1)
    values: dict[str, Scalar] = {
        f"honest_{share}": honest.shape[1],
        f"hostile_{share}": hostile,
        f"honest_cosine_{share}": float(
            np.mean([rows @ rows.T for rows in honest])  # of all pairs, with themselves
        ),
    }
    cleans = _quality(f"clean_{share}", clean, data, queries)
    values |= cleans
    task = bars.add_task(f"{share} % hostile", total=len(ATTACKS) * len(honest))
    worst: dict[str, float | None] = dict.fromkeys(RULES)
    for name, attack in ATTACKS.items():
        random = np.random.default_rng(1)
        combined: dict[str, list[Floats]] = {rule: [] for rule in RULES}
        for number, rows in enumerate(honest):
            decoy = clean[(number + len(honest) // 2) % len(honest)]
            reports = np.concatenate([attack(rows, hostile, random, decoy), rows])
            for rule in RULES:
                if (vector := _combined(reports, rule, hostile)) is not None:
                    combined[rule].append(vector)
            bars.advance(task)
        for rule, vectors in combined.items():
            key = f"{rule}_{name}_{share}"
            if not vectors:  # refused
                values |= dict.fromkeys([f"{key}_{one}" for one in MEASURES] + [f"{key}_of_clean"])
                continue
            found = _quality(key, np.array(vectors), data, queries)
            ratio = min(float(found[f"{key}_{one}"]) / float(cleans[f"clean_{share}_{one}"]) for one in MEASURES)
            values |= {**found, f"{key}_of_clean": ratio}
            before = worst[rule]
            worst[rule] = ratio if before is None else min(before, ratio)
    return values | {f"{rule}_worst_{share}_of_clean": ratio for rule, ratio in worst.items()}


def _combined(reports: Floats, rule: str, hostile: int) -> Floats | None:
    name = rule.removeprefix("mixed_")
    try:
        return robust.aggregate(reports, name, f=0 if name == "mean" else hostile, mix=name != rule).vector
    except InputError:
        return None  # too many hostile for the rule


def _quality(key: str, vectors: Floats, data: RetrievalSet, queries: Floats) -> dict[str, float]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = queries @ (vectors / np.where(lengths > 0, lengths, 1)).T
    found = measure(data, list(np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]), MEASURES)
    return {f"{key}_{name}": float(values.mean()) for name, values in found.items()}
