"""Requests a second and their times, of `zenso serve` and of infinity-emb, with 1, 8 and 64 connections.

Each server is a process of its own, and so is what sends the requests (``bench/load.py``). Both servers run all the
time and take turns; the one that is not measured is idle.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.collection import Collection, embed
from bench.report import Scalar, left_out, progress
from bench.search import build
from bench.server_process import ServerProcess, free_port, zenso_command
from zenso.errors import InputError
from zenso.evaluation.retrieval_set import RetrievalSet, read_retrieval_set
from zenso.zen import load_encoder

MODEL = "all-MiniLM-L6-v2"
DATA = Path("../shared/data")
QUERY_SETS = ("scifact", "nq_utd", "covidqa")
DOCUMENT_SET = "nq_utd"
DOCUMENTS, QUICK_DOCUMENTS = 100_000, 1000
CONNECTIONS = (1, 8, 64)
SECONDS, QUICK_SECONDS = 6.0, 0.2  # of a turn; what runs at its end is waited for
ROUNDS, QUICK_ROUNDS = 4, 1
ENOUGH_SECONDS = 40.0  # of a server in one row; then it has no further turn
BATCH, RERANKED, HITS = 32, 50, 10
CHARACTERS = 300  # of a passage in a batch or to be reranked
PEER = Path(__file__).with_name("infinity_server.py")
PEER_NAME = "peer"  # of its model
# Nothing is fetched, and nobody is told.
_PEER_SETTINGS = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}

Requests = list[tuple[str, object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="FOLDER", help=f"the folder of the retrieval sets ({DATA})"
    )
    parser.add_argument(
        "--infinity",
        type=Path,
        metavar="PYTHON",
        help="interpreter of an environment that has infinity-emb and faiss-cpu, to compare with it",
    )
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="the published model's files, for infinity-emb")
    parser.add_argument("--rows", default="", metavar="NAMES", help="only these rows, such as single,batch; else all")


@dataclass
class _Row:
    """What is asked of both servers, and how that went."""

    name: str
    ours: Requests
    theirs: Requests
    found: dict[str, "_Found"] = field(default_factory=dict)


@dataclass
class _Found:
    """All turns of one server with so many connections."""

    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0

    def results(self, prefix: str) -> dict[str, Scalar]:
        """Return the numbers under their keys; null where nothing was measured."""
        if not self.milliseconds:
            return dict.fromkeys(f"{prefix}_{name}" for name in ("rps", "p50_ms", "p99_ms", "cpu_ms"))
        return {
            f"{prefix}_rps": len(self.milliseconds) / self.seconds,
            f"{prefix}_p50_ms": median(self.milliseconds),
            f"{prefix}_p99_ms": float(np.quantile(self.milliseconds, 0.99)),
            f"{prefix}_cpu_ms": 1000 * self.processor_seconds / len(self.milliseconds),
        }


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    queries = _queries(options.data, quick=options.quick)
    size = QUICK_DOCUMENTS if options.quick else DOCUMENTS
    encoder = load_encoder(MODEL)
    collection = embed(encoder, [_read(options.data / DOCUMENT_SET, quick=options.quick)], size, None)
    passages = [text[:CHARACTERS] for text in collection.texts]
    rows = _rows(queries, passages)
    lengths = {name: [len(ids) + 2 for ids in encoder.word_tokens(texts)] for name, texts in _texts(queries, passages)}
    found: dict[str, Scalar] = {
        "model": MODEL,
        "documents": size,
        "queries": len(queries),
        "passages": len(passages),
        "query_tokens_median": median(lengths["query"]),
        "passage_tokens_median": median(lengths["passage"]),
    }
    wanted = [row for row in rows if not options.rows or row.name in options.rows.split(",")]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        place = Path(name)
        build(place / "bench.zenso", encoder, collection)
        ours = stack.enter_context(_ours(place))
        theirs = None
        if options.infinity is not None and options.model is not None:
            theirs = stack.enter_context(_infinity(place, options.infinity, options.model, collection))
            found |= {f"version_{package}": version for package, version in theirs.ask("GET", "/versions").items()}
            found["min_cosine_vs_peer"] = _compare(ours, theirs, passages[:BATCH])
        else:
            left_out("infinity-emb", "give --infinity PYTHON and --model FOLDER; bench/README.md says how to get one")
            found |= dict.fromkeys(("version_infinity_emb", "version_torch", "version_faiss", "min_cosine_vs_peer"))
        _measure(wanted, ours, theirs, quick=options.quick)
    for row in rows:
        for connections in CONNECTIONS:
            for side in ("ours", "peer"):
                key = f"{row.name}_{connections}" if side == "ours" else f"peer_{row.name}_{connections}"
                found |= row.found.get(f"{side}_{connections}", _Found()).results(key)
    return found


# --- what is asked ----------------------------------------------------------------------------------------------------


def _read(folder: Path, *, quick: bool) -> RetrievalSet:
    return read_retrieval_set(folder, queries=20, documents=40) if quick else read_retrieval_set(folder)


def _queries(data: Path, *, quick: bool) -> list[str]:
    """Return the queries of all sets, in turn, so that the first ones are of each."""
    sets = [_read(data / name, quick=quick).queries for name in QUERY_SETS]
    longest = max(map(len, sets))
    return [queries[place] for place in range(longest) for queries in sets if place < len(queries)]


def _texts(queries: list[str], passages: list[str]) -> Iterator[tuple[str, list[str]]]:
    yield "query", queries
    yield "passage", passages


def _rows(queries: Sequence[str], passages: Sequence[str]) -> list[_Row]:
    def groups(size: int, count: int) -> list[list[str]]:
        """Take passages in their order, and from the start again at their end."""
        return [[passages[(first * size + place) % len(passages)] for place in range(size)] for first in range(count)]

    batches, candidates = groups(BATCH, 100), groups(RERANKED, 100)
    ours, theirs = "/v1/embeddings", "/embeddings"

    def embedding(path: str, given: object) -> tuple[str, object]:
        return path, {"model": PEER_NAME if path == theirs else MODEL, "input": given}

    searches: Requests = [("/search", {"query": query, "k": HITS}) for query in queries]
    asked = list(zip(queries, candidates, strict=False))
    return [
        _Row("single", [embedding(ours, query) for query in queries], [embedding(theirs, query) for query in queries]),
        _Row("batch", [embedding(ours, batch) for batch in batches], [embedding(theirs, batch) for batch in batches]),
        _Row(
            "rerank",
            [("/v1/rerank", {"model": MODEL, "query": query, "documents": group}) for query, group in asked],
            [embedding(theirs, [query, *group]) for query, group in asked],
        ),
        _Row(
            "search",
            [("/v1/search", {"query": query, "k": HITS, "hybrid": False}) for query in queries],
            searches,
        ),
        _Row("hybrid", [("/v1/search", {"query": query, "k": HITS}) for query in queries], searches),
    ]


# --- the servers ------------------------------------------------------------------------------------------------------


@contextmanager
def _ours(place: Path) -> Iterator[ServerProcess]:
    port = free_port()
    with closing(ServerProcess(zenso_command(port, "bench.zenso"), port, place)) as server:
        yield server


@contextmanager
def _infinity(place: Path, python: Path, model: Path, collection: Collection) -> Iterator[ServerProcess]:
    vectors = np.concatenate([_unit(vectors) for _, vectors, _ in collection.copies()])
    np.save(place / "vectors.npy", vectors)
    (place / "texts.json").write_text(json.dumps(collection.texts), "utf-8")
    port = free_port()
    arguments = [str(model.absolute()), str(port), "vectors.npy", "texts.json"]
    # -I: neither this folder's modules nor this environment's settings reach the other one.
    command = [str(python.absolute()), "-I", str(PEER), *arguments]
    with closing(ServerProcess(command, port, place, _PEER_SETTINGS)) as server:
        yield server


def _unit(vectors: NDArray[np.int16]) -> NDArray[np.float32]:
    floats = vectors.astype(np.float32)
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    return floats


def _compare(ours: ServerProcess, theirs: ServerProcess, texts: list[str]) -> float:
    """Return the least cosine between what both servers say of some texts: they run the same model."""
    vectors = []
    for server, path in ((ours, "/v1/embeddings"), (theirs, "/embeddings")):
        answer = server.ask("POST", path, {"model": PEER_NAME if server is theirs else MODEL, "input": texts})
        rows = np.array([row["embedding"] for row in answer["data"]], np.float64)
        vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return float((vectors[0] * vectors[1]).sum(axis=1).min())


# --- measuring --------------------------------------------------------------------------------------------------------


def _measure(rows: Sequence[_Row], ours: ServerProcess, theirs: ServerProcess | None, *, quick: bool) -> None:
    seconds, rounds = (QUICK_SECONDS, QUICK_ROUNDS) if quick else (SECONDS, ROUNDS)
    sides = {"ours": ours} | ({"peer": theirs} if theirs else {})
    with progress() as bars:
        task = bars.add_task("requests", total=len(rows) * len(CONNECTIONS) * rounds * len(sides))
        for row in rows:
            asked = {"ours": row.ours, "peer": row.theirs}
            for side, server in sides.items():
                _turn(server, asked[side], 2, seconds / 3)  # whatever is loaded on first use
            for connections in CONNECTIONS:
                for _ in range(rounds):
                    for side, server in sides.items():
                        found = row.found.setdefault(f"{side}_{connections}", _Found())
                        if found.seconds < ENOUGH_SECONDS:
                            _add_turn(found, server, asked[side], connections, seconds)
                        bars.advance(task)


def _add_turn(found: _Found, server: ServerProcess, requests: Requests, connections: int, seconds: float) -> None:
    before = server.processor_seconds()
    answer = _turn(server, requests, connections, seconds)
    found.milliseconds += answer["milliseconds"]
    found.seconds += answer["seconds"]
    found.processor_seconds += server.processor_seconds() - before


def _turn(server: ServerProcess, requests: Requests, connections: int, seconds: float) -> dict[str, Any]:
    order = {
        "host": server.host,
        "port": server.port,
        "connections": connections,
        "seconds": seconds,
        "requests": [(path, json.dumps(body)) for path, body in requests],
    }
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"the load ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["refused"]:
        raise InputError(f"{answer['refused']} requests were refused, the first with: {answer['first_refusal']}")
    return answer
