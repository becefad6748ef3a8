"""``python -m bench.search_cold FOLDER QUERIES THREADS``: what a fresh process needs for its first answers, as JSON."""

import json
import sqlite3
import sys
import time

BEGAN = time.perf_counter()

from pathlib import Path  # noqa: E402
from typing import cast  # noqa: E402

from bench.collection import load_queries  # noqa: E402
from bench.ready import ReadyEncoder  # noqa: E402
from zenso.canonical import ModelProvenance  # noqa: E402
from zenso.memory import Memory, SearchSettings  # noqa: E402
from zenso.memory.database import FILE_NAME  # noqa: E402
from zenso.zen import Provenance, ZenEncoder, load_encoder  # noqa: E402


def stored_provenance(folder: Path) -> Provenance:
    """Read what a memory's embeddings were made with."""
    connection = sqlite3.connect(f"{(folder / FILE_NAME).absolute().as_uri()}?mode=ro", uri=True)
    try:
        given = json.loads(connection.execute("SELECT json FROM provenance").fetchone()[0])
    finally:
        connection.close()
    return Provenance(**{**given, "model": ModelProvenance(**given["model"])})


def resident() -> tuple[int, int]:
    """Return the bytes of this process in memory: all, and those that belong to no file."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return tuple(1024 * int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def measure(folder: Path, queries: Path, threads: int) -> dict[str, float]:
    """Open a memory and search it: first with an embedded query, then with all of them, then from text."""
    imported = time.perf_counter()
    embedded = load_queries(queries)
    texts = list(embedded)
    encoder = cast("ZenEncoder", ReadyEncoder(stored_provenance(folder), embedded))
    before = resident()
    settings = SearchSettings(threads=threads)
    began, spent = time.perf_counter(), time.process_time()
    memory = Memory.open(folder, read_only=True, encoder=encoder, settings=settings)
    opened = time.perf_counter()
    memory.search(texts[0], 10, hybrid=False)
    answered, spent = time.perf_counter(), time.process_time() - spent
    for text in texts:
        memory.search(text, 10, hybrid=False)
    after = resident()
    memory.close()
    again = time.perf_counter()
    with Memory.open(folder, read_only=True, encoder=lambda: load_encoder(threads=threads), settings=settings) as one:
        one.search(texts[0], 10, hybrid=False)
    from_text = time.perf_counter()
    return {
        "import_seconds": imported - BEGAN,
        "open_seconds": opened - began,
        "first_answer_seconds": answered - began,
        "first_answer_cpu_seconds": spent,
        "model_and_answer_seconds": from_text - again,
        "resident_bytes": after[0] - before[0],
        "anonymous_bytes": after[1] - before[1],
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
