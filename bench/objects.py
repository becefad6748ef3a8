"""A model from one node to another by streams: how fast, beside plain HTTP, and what gossip does meanwhile."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bench.node_process import NodeProcess, eventually
from bench.report import Scalar, progress
from zenso import models

MODEL = "all-MiniLM-L6-v2"
ROUNDS, QUICK_ROUNDS = 9, 2
RECORDS, QUICK_RECORDS = 30, 4
_CHUNK = 256 * 1024
_UNLIMITED = {"object_bytes_per_second": 1e12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--rounds", type=int, metavar="N", help=f"fetches of each kind, in turns ({ROUNDS})")
    parser.add_argument("--records", type=int, metavar="N", help=f"records at rest, and as many meanwhile ({RECORDS})")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    records = options.records or (QUICK_RECORDS if options.quick else RECORDS)
    entry = models.lookup(MODEL)
    source = models.fetch(entry)
    largest = max(entry.files, key=lambda file: file.size)
    with ExitStack() as stack:
        name = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        giver = NodeProcess(name / "giver", limits=_UNLIMITED)
        stack.callback(giver.close)
        taker = NodeProcess(name / "taker", [giver.address], environment={"ZENSO_CACHE": str(name / "cache")})
        stack.callback(taker.close)
        with progress() as bars:
            bars.add_task("starting a node from its peer", total=None)
            began = time.monotonic()
            eventually(lambda: taker.status()["model"]["loaded"], 300)
            started = time.monotonic() - began
        cached = name / "cache" / "models" / MODEL
        by_node, by_http, busy = [], [], []
        with _http_server(source) as url, progress() as bars:
            task = bars.add_task("fetching", total=rounds)
            for _ in range(rounds):
                before = giver.processor_seconds + taker.processor_seconds
                by_node.append(_fetch_by_node(taker, cached))
                busy.append(giver.processor_seconds + taker.processor_seconds - before)
                by_http.append(_fetch_by_http(f"{url}/{largest.name}", name / "by-http", largest.sha256))
                bars.advance(task)
        at_rest = _spread(giver, taker, records, "at rest")
        with _fetching(taker, cached) as fetched:
            meanwhile = _spread(giver, taker, records, "meanwhile")
        sent = giver.status()["counts"]["object_bytes_sent"]
    node_rates = [entry.size / seconds / 1e6 for seconds in by_node]
    http_rates = [largest.size / seconds / 1e6 for seconds in by_http]
    return {
        "model": MODEL,
        "model_bytes": entry.size,
        "first_start_seconds": started,
        "rounds": rounds,
        "node_mb_per_s": float(np.median(node_rates)),
        "http_mb_per_s": float(np.median(http_rates)),
        "node_by_http": float(np.median([node / http for node, http in zip(node_rates, http_rates, strict=True)])),
        "node_cpu_ms_per_mb": 1000 * float(np.median(busy)) / entry.size * 1e6,
        "records": records,
        "spread_at_rest_p50_ms": 1000 * float(np.median(at_rest)),
        "spread_at_rest_max_ms": 1000 * max(at_rest),
        "spread_meanwhile_p50_ms": 1000 * float(np.median(meanwhile)),
        "spread_meanwhile_max_ms": 1000 * max(meanwhile),
        "fetches_meanwhile": len(fetched),
        "object_bytes_sent": sent,
    }


def _fetch_by_node(taker: NodeProcess, cached: Path) -> float:
    """Take a model from a node's cache and let it fetch it again; return the seconds until it is verified there."""
    for file in models.lookup(MODEL).files:
        (cached / file.name).unlink()
    began = time.monotonic()
    eventually(lambda: taker.ask("fetch", model=MODEL)["folder"], 300, 0.01)
    return time.monotonic() - began


def _fetch_by_http(url: str, target: Path, sha256: str) -> float:
    """Fetch a file as a node would: hashed as it comes, on the disk in the end."""
    digest = hashlib.sha256()
    began = time.monotonic()
    with urllib.request.urlopen(url) as response, target.open("wb") as file:  # noqa: S310 - of this process
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    assert digest.hexdigest() == sha256
    return time.monotonic() - began


@contextmanager
def _http_server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split("(")[1].split("/)")[0]
        finally:
            server.kill()


def _spread(origin: NodeProcess, other: NodeProcess, count: int, when: str) -> list[float]:
    """Submit records one at a time; return the times from when the one node had each until the other had it."""
    seconds = []
    with progress() as bars:
        for number in bars.track(range(count), description=f"sending records, {when}"):
            wanted = other.count() + 1
            origin.ask("submit", text=_words(f"{when} {number}"))
            began = time.monotonic()
            while other.count() < wanted:
                time.sleep(0.001)
            seconds.append(time.monotonic() - began)
    return seconds


def _words(seed: str) -> str:
    """Return a text that is near to no other: words of a hash."""
    digest = hashlib.sha256(seed.encode()).digest()
    vowels, consonants = "aeiou", "bdfgklmnprst"
    letters = [consonants[byte % 12] + vowels[byte // 12 % 5] for byte in digest]
    return " ".join("".join(letters[place : place + 3]) for place in range(0, len(letters), 3))


@contextmanager
def _fetching(taker: NodeProcess, cached: Path) -> Iterator[Sequence[float]]:
    """Fetch again and again until the end of the block; give the seconds of each that is done."""
    ended, done = threading.Event(), list[float]()

    def work() -> None:
        while not ended.is_set():
            done.append(_fetch_by_node(taker, cached))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()
