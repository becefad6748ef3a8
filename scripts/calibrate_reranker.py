"""Fit the curves that turn a reranker's evidence into scores from 0 to 1, and show how well they fit.

    python scripts/calibrate_reranker.py --data FOLDER

FOLDER is a retrieval set in the BEIR layout that may be trained on (the shipped numbers come from SQuAD 1.1 dev, CC
BY-SA 4.0). Each of its first questions (``--queries``) is searched for in a memory of all its documents; the first 100
are reranked, from text and from codes. The curves are fitted on every other question, and checked on the rest.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track

from zenso.memory import Memory
from zenso.rerank import ZenReranker
from zenso.rerank.scoring import Scorer
from zenso.zen import TokenStates, Windows, ZenEncoder

CANDIDATES = 100
BINS = 10
Float64 = NDArray[np.float64]


def fit(evidence: Float64, answers: Float64) -> tuple[float, float]:
    """Fit a logistic curve by Newton's method; return its slope, and the evidence where it is a half."""
    design = np.stack([evidence, np.ones(len(evidence))], axis=1)
    beta = np.zeros(2)
    for _ in range(100):
        share = 1 / (1 + np.exp(-design @ beta))
        step = np.linalg.solve(design.T * (share * (1 - share)) @ design, design.T @ (answers - share))
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0]), float(-beta[1] / beta[0])


def report(name: str, slope: float, middle: float, evidence: Float64, answers: Float64) -> None:
    """Print how often candidates of each tenth of the scores answer."""
    score = 1 / (1 + np.exp(-slope * (evidence - middle)))
    print(f"{name}: slope {slope:.3f}, middle {middle:.4f}; Brier score {np.mean((score - answers) ** 2):.4f}")
    print("| score | candidates | mean score | share that answers |\n|---|---|---|---|")
    error = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (score >= low) & (score < low + 1 / BINS)
        if inside.any():
            mean, share = score[inside].mean(), answers[inside].mean()
            error += inside.mean() * abs(mean - share)
            print(f"| {low:.1f} to {low + 1 / BINS:.1f} | {inside.sum():,} | {mean:.3f} | {share:.3f} |")
    print(f"expected calibration error: {error:.4f}\n")


def add(memory: Memory, texts: dict[str, str]) -> None:
    """Add documents to a memory."""
    with Progress() as bars:
        task = bars.add_task("embed documents", total=len(texts))
        memory.add(list(texts.values()), ids=list(texts), on_progress=lambda done: bars.advance(task, done))


def read_all(encoder: ZenEncoder, texts: dict[str, str]) -> dict[str, tuple[Windows, list[TokenStates]]]:
    """Cut documents into windows and embed these, once for all questions."""
    read = {}
    for name, text in track(list(texts.items()), "read documents"):
        (windows,) = encoder.cut_windows([text])
        read[name] = windows, encoder.encode_tokens(windows.pieces)
    return read


def main() -> None:
    """Run the whole fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=600)
    options = parser.parse_args()

    documents = [json.loads(line) for line in (options.data / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (options.data / "queries.jsonl").open(encoding="utf-8")]
    rows = [line.split("\t") for line in (options.data / "qrels.tsv").read_text("utf-8").splitlines()[1:]]
    relevant = {(query, document) for query, document, grade in rows if int(grade) > 0}
    chosen = queries[:: max(1, len(queries) // options.queries)][: options.queries]
    texts = {one["_id"]: f"{one.get('title', '')} {one['text']}".strip() for one in documents}
    found: dict[str, list[tuple[int, float, bool]]] = {"text": [], "codes": []}
    with tempfile.TemporaryDirectory() as place, Memory.open(place) as memory:
        add(memory, texts)
        read = read_all(memory.encoder, texts)
        reranker = ZenReranker(memory=memory)
        for number, query in enumerate(track(chosen, "rerank")):
            hits = memory.search(query["text"], CANDIDATES)
            scorer = Scorer(memory.encoder.encode_query(query["text"], memory.frequencies))
            for result in reranker.rerank(query["text"], hits, from_codes=True):
                name = result.candidate.id
                answer = (query["_id"], name) in relevant
                found["codes"].append((number, result.evidence, answer))
                found["text"].append((number, scorer.score(*read[name])[0], answer))
    for kind, results in found.items():
        table = np.array(results, np.float64)
        evidence, answers, half = table[:, 1], table[:, 2], table[:, 0] % 2 == 0
        slope, middle = fit(evidence[half], answers[half])
        report(kind, slope, middle, evidence[~half], answers[~half])


if __name__ == "__main__":
    main()
