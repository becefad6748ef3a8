"""Speed of reranking 100 candidates: from stored codes, from text, and beside MaxSim of the same model in PyTorch."""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

from rich.progress import Progress

from bench.peer_process import PeerProcess
from bench.report import Scalar, left_out, progress
from bench.retrieval_sets import DATA, read
from zenso import models
from zenso.errors import InputError
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.memory import Memory
from zenso.rerank import ZenReranker
from zenso.zen import load_encoder

NAME = "rerank"
MODEL = "all-MiniLM-L6-v2"
SET = DATA / "covidqa"
CANDIDATES = 100
THREADS = (1, 2)
BATCHES = (4, 8, 16, 32)  # of the peer
ROUNDS, QUICK_ROUNDS = 5, 2
QUERIES, QUICK_QUERIES, WARM_UP = 300, 30, 10
SERVER = Path(__file__).with_name("max_sim_server.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument(
        "--data", type=Path, default=SET, metavar="FOLDER", help=f"a retrieval set in the BEIR layout ({SET})"
    )
    parser.add_argument(
        "--sentence-transformers",
        type=Path,
        metavar="PYTHON",
        help="interpreter of an environment that has sentence-transformers and so PyTorch, to compare with it",
    )


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    data = read(options.data, quick=True)
    if len(data.documents) < CANDIDATES:
        message = f"{options.data} has {len(data.documents)} documents; at least {CANDIDATES} are reranked"
        raise InputError(message)
    texts = data.documents[:CANDIDATES]
    lengths = [len(windows.ids) + 2 for windows in load_encoder(MODEL).cut_windows(texts)]
    found: dict[str, Scalar] = {
        "dataset": data.name,
        "candidates": CANDIDATES,
        "tokens_median": median(lengths),
        "tokens_longest": max(lengths),
        **_from_codes(data, QUICK_QUERIES if options.quick else QUERIES),
    }
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    with progress() as bars:
        return found | _from_text(data.queries[0], texts, options.sentence_transformers, rounds, bars)


def _from_codes(data: RetrievalSet, queries: int) -> dict[str, Scalar]:
    """Time ``rerank`` of stored documents from their codes, the query's embedding included, on one thread."""
    encoder = load_encoder(MODEL, threads=1)
    with tempfile.TemporaryDirectory() as place, Memory.open(place, encoder=encoder) as memory:
        memory.add(data.documents[:CANDIDATES])
        candidates = list(memory)
        reranker = ZenReranker(memory=memory)
        asked = [data.queries[number % len(data.queries)] for number in range(WARM_UP + queries)]
        seconds = []
        for query in asked:
            start = time.perf_counter()
            reranker.rerank(query, candidates, from_codes=True)
            seconds.append(time.perf_counter() - start)
    cuts = quantiles(seconds[WARM_UP:], n=100)
    return {"from_codes_p50_ms": 1000 * cuts[49], "from_codes_p99_ms": 1000 * cuts[98]}


def _from_text(query: str, texts: Sequence[str], python: Path | None, rounds: int, bars: Progress) -> dict[str, Scalar]:
    if python is None:
        left_out("PyTorch", "give --sentence-transformers PYTHON; bench/README.md says how to get one")
        return _race(query, texts, None, rounds, bars)
    artifact = models.load_artifact(MODEL)
    folder = models.fetch(models.lookup(MODEL))
    with closing(PeerProcess(python, SERVER, str(folder), str(artifact.config["max_tokens"]))) as peer:
        versions = peer.ask(list(texts))
        found = _race(query, texts, peer, rounds, bars)
    return found | {f"version_{name}": version for name, version in versions.items()}


def _peer_seconds(peer: PeerProcess, query: str, batch: int, threads: int) -> float:
    return float(peer.ask({"query": query, "batch": batch, "threads": threads})["seconds"])


def _race(query: str, texts: Sequence[str], peer: PeerProcess | None, rounds: int, bars: Progress) -> dict[str, Scalar]:
    """Best of interleaved rounds, for each number of threads; the peer's first round finds its best batch size."""
    found: dict[str, Scalar] = {}
    task = bars.add_task("rerank from text", total=len(THREADS) * rounds)
    for threads in THREADS:
        reranker = ZenReranker(encoder=load_encoder(MODEL, threads=threads))
        ours, theirs = float("inf"), float("inf")
        batches: Sequence[int] = BATCHES if peer else ()
        reranker.rerank(query, texts)
        for _ in range(rounds):
            start = time.perf_counter()
            reranker.rerank(query, texts)
            ours = min(ours, time.perf_counter() - start)
            took = {batch: _peer_seconds(peer, query, batch, threads) for batch in batches if peer}
            theirs = min(theirs, *took.values()) if took else theirs
            batches = [min(took, key=lambda batch: took[batch])] if took else ()
            bars.advance(task)
        suffix = "" if threads == 1 else f"_{threads}_threads"
        found[f"from_text_ms{suffix}"] = 1000 * ours
        found[f"torch_ms{suffix}"] = 1000 * theirs if peer else None
        found[f"ratio_from_text_vs_torch{suffix}"] = theirs / ours if peer else None
    return found
