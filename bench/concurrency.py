"""One process writes while others search: whether each search is of one state, and how soon it sees a new document."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.report import Scalar
from zenso.errors import ZensoError
from zenso.memory import Memory
from zenso.zen import load_encoder

READERS, DOCUMENTS, ROUNDS = 3, 2000, 200
QUICK_DOCUMENTS, QUICK_ROUNDS = 100, 10

# Searches without end; tells the moment at which a search first held the newest pair, and any search that held half of
# a pair. The clock is the one that all processes of a machine share.
_READER = """
import json, sys, time
from zenso.memory import Memory
from zenso.zen import load_encoder
newest, searches = -1, 0
with Memory.open(sys.argv[1], read_only=True, encoder=load_encoder(threads=1)) as memory:
    while True:
        hits = memory.search("the newest pair", k=10, where={"pair": {"$gte": newest}})
        now = time.monotonic()
        numbers = sorted(hit.metadata["pair"] for hit in hits)
        if numbers[::2] != numbers[1::2]:
            print(json.dumps({"mixed": numbers}), flush=True)
        searches += 1
        if searches == 1 or (numbers and numbers[-1] > newest):
            newest = numbers[-1] if numbers else newest
            print(json.dumps({"seen": newest, "at": now, "searches": searches}), flush=True)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--readers", type=int, default=READERS, metavar="N", help=f"processes that search ({READERS})")
    parser.add_argument("--documents", type=int, metavar="N", help=f"documents to begin with ({DOCUMENTS})")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Write pairs, and wait each time until every reader has seen the pair."""
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    documents = options.documents or (QUICK_DOCUMENTS if options.quick else DOCUMENTS)
    delays: list[float] = []
    adds: list[float] = []
    mixed = searches = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "memory"
        with Memory.open(folder, encoder=load_encoder(threads=1)) as memory:
            memory.add([f"document number {number}" for number in range(documents)])
            readers = [_start(folder) for _ in range(options.readers)]
            try:
                for reader in readers:
                    _next(reader)
                for number in range(rounds):
                    began = time.monotonic()
                    ids = [f"{number} left", f"{number} right"]
                    memory.add([f"the newest pair {one}" for one in ids], ids=ids, metadata={"pair": number})
                    done = time.monotonic()
                    adds.append(done - began)
                    for reader in readers:
                        event = _next(reader)
                        while "mixed" in event:
                            mixed += 1
                            event = _next(reader)
                        # A search may begin after the commit and end before the writer's clock is read.
                        delays.append(max(0.0, event["at"] - done))
                        searches += event["searches"] if number == rounds - 1 else 0
                    if number:
                        memory.delete([f"{number - 1} left", f"{number - 1} right"])
            finally:
                for reader in readers:
                    reader.kill()
                    reader.communicate()
    return {
        "readers": options.readers,
        "documents": documents,
        "rounds": rounds,
        "searches": searches,
        "searches_of_mixed_states": mixed,
        "seen_after_ms_median": round(1000 * median(delays), 3),
        "seen_after_ms_p99": round(1000 * sorted(delays)[int(0.99 * (len(delays) - 1))], 3),
        "seen_after_ms_longest": round(1000 * max(delays), 3),
        "add_ms_median": round(1000 * median(adds), 3),
    }


def _start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", _READER, str(folder)], stdout=subprocess.PIPE, text=True)


def _next(reader: "subprocess.Popen[str]") -> dict[str, Any]:
    line = reader.stdout.readline() if reader.stdout else ""
    if not line:
        raise ZensoError(f"a reader ended with exit code {reader.wait()}; its error stands above")
    event: dict[str, Any] = json.loads(line)
    return event
