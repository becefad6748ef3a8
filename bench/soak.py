"""A server under mixed load for an hour: nothing acknowledged is lost, memory stays flat, every answer makes sense.

Clients are processes of their own (``bench/soak_client.py``), as many as keep the server busy. Halfway the server is
killed and started again. In the end the documents that it holds are compared with the journals of the clients.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Scalar, progress
from bench.server_process import ServerProcess, free_port, zenso_command
from zenso.errors import InputError
from zenso.memory import Memory, check_memory

MINUTES, QUICK_MINUTES = 60.0, 0.06
CLIENTS = {"read": 3, "write": 2, "rude": 1}  # processes of each kind
QUICK_CLIENTS = {"read": 1, "write": 1, "rude": 1}
DATA = Path("../shared/data/nq_utd")
WARM_UP = 0.2  # share of the time after which memory is expected to be flat
_SAMPLES = 400  # of memory, in the whole time
_ENDING_SECONDS = 300.0
_SETTLING_SECONDS = 1.0  # after which no client finds the server away
_FEW = ("bread needs flour, water, salt and time", "a whale hunt at sea", "tomatoes want sun", "a date from a string")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    minutes = f"of load ({MINUTES:g}; with --quick {QUICK_MINUTES:g})"
    parser.add_argument("--minutes", type=float, metavar="N", help=minutes)
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help=f"texts, in the BEIR layout ({DATA})")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random (1)")


@dataclass
class _Watched:
    """What was seen of the server: its memory over time, and how its start after the kill went."""

    minutes: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    restart_seconds: float = 0.0
    killed_at: float = 0.0  # minutes
    away: tuple[float, float] = (0.0, 0.0)  # seconds of the epoch between which the server was away

    def slope(self, first: float) -> float | None:
        """Return by how many megabytes memory grows in an hour: a line through what was seen after a minute ``first``.

        A server that was started anew begins anew: its samples are laid on the same line, with a height of their own.
        """
        times, sizes = np.array(self.minutes), np.array(self.megabytes)
        late = (times >= first) & ~((times >= self.killed_at) & (times < self.killed_at + first))
        if late.sum() < 10:
            return None
        after = times[late] > self.killed_at
        lines = np.stack([times[late], ~after, after], axis=1).astype(np.float64)
        return float(60 * np.linalg.lstsq(lines, sizes[late], rcond=None)[0][0])


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Load, kill, load on, and judge; the keys are documented in README.md."""
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    kinds = QUICK_CLIENTS if options.quick else CLIENTS
    watched = _Watched()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "texts.json").write_text(json.dumps(_texts(options.data)), "utf-8")
        port = free_port()
        clients = [f"{kind}-{number}" for kind, count in kinds.items() for number in range(count)]
        with _clients(place, port, clients, options.seed) as processes:
            alive = _load(place, port, minutes, processes, watched)
        reports = [json.loads((place / f"{client}.json").read_text("utf-8")) for client in clients]
        journal = [
            json.loads(line)
            for client in clients
            if (place / f"{client}.journal").exists()
            for line in (place / f"{client}.journal").read_text("utf-8").splitlines()
        ]
        judged = judge(place / "soak.zenso", journal)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report["counts"])
        for detail in report["wrong"]:
            print(f"bench soak: wrong answer: {detail}", file=sys.stderr)
    for finding in judged["details"]:
        print(f"bench soak: {finding}", file=sys.stderr)
    away = [moment for report in reports for moment in report["away"]]
    unexplained = sum(not watched.away[0] <= moment <= watched.away[1] for moment in away)
    first = minutes * WARM_UP
    late = [size for minute, size in zip(watched.minutes, watched.megabytes, strict=True) if minute >= first]
    milliseconds = {kind: [ms for report in reports for ms in report["milliseconds"].get(kind, [])] for kind in _TIMED}
    results: dict[str, Scalar] = {
        "minutes": minutes,
        "clients": len(clients),
        "seed": options.seed,
        **{name: counts[name] for name in _COUNTED},
        "requests_per_s": sum(counts[name] for name in _COUNTED[: len(_TIMED)]) / minutes / 60,
        **{
            f"{kind}_p{part}_ms": float(np.quantile(times, part / 100)) if times else None
            for kind, times in milliseconds.items()
            for part in (50, 99)
        },
        "disconnected": len(away),
        "disconnected_without_kill": unexplained,
        "wrong_answers": counts["wrong"],
        "kills": 1,
        "restart_seconds": watched.restart_seconds,
        "alive_at_end": alive,
        "acknowledged_writes": judged["acknowledged"],
        "unacknowledged_writes": judged["open"],
        "documents": judged["documents"],
        "writes_lost": judged["lost"],
        "deletes_undone": judged["resurrected"],
        "texts_changed": judged["changed"],
        "check_findings": judged["findings"],
        "memory_mb_start": watched.megabytes[0],
        "memory_mb_max": max(watched.megabytes),
        "memory_mb_end": watched.megabytes[-1],
        "memory_mb_median": float(np.median(late)) if late else None,
        "memory_slope_mb_per_hour": watched.slope(first),
    }
    bad = (
        "wrong_answers",
        "disconnected_without_kill",
        "writes_lost",
        "deletes_undone",
        "texts_changed",
        "check_findings",
    )
    results["failures"] = sum(int(results[name] or 0) for name in bad) + (not alive)
    return results


_COUNTED = (
    "embeds",
    "reranks",
    "searches",
    "adds",
    "deletes",
    "left_early",
    "half_requests",
    "garbage",
    "refused_busy",
    "refused_clearly",
)
_TIMED = ("embed", "rerank", "search", "add", "delete")


def _texts(folder: Path) -> list[str]:
    """Return passages to embed and store; a few sentences where the data is absent would not show much."""
    file = folder / "corpus.jsonl"
    if not file.exists():
        raise InputError(f"{file} is missing; give --data a folder in the BEIR layout")
    with file.open(encoding="utf-8") as lines:
        return [*_FEW, *(json.loads(line)["text"] for line in lines)]


@contextmanager
def _clients(place: Path, port: int, names: Sequence[str], seed: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the clients; they begin when the file ``start`` is there, and end when ``stop`` is."""
    started = [
        subprocess.Popen([sys.executable, "-m", "bench.soak_client", str(place), str(port), name, f"{seed}.{name}"])
        for name in names
    ]
    try:
        yield started
        (place / "stop").touch()
        for process in started:
            process.wait(_ENDING_SECONDS)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _load(
    place: Path, port: int, minutes: float, clients: Sequence[subprocess.Popen[bytes]], watched: _Watched
) -> bool:
    """Serve for a time, killed in the middle; True if the server lived to the end."""
    interval = minutes * 60 / _SAMPLES

    def watch(server: ServerProcess, until: float) -> None:
        while (now := (time.monotonic() - began) / 60) < until and server.process.poll() is None:
            watched.minutes.append(now)
            watched.megabytes.append(server.resident_bytes() / 1e6)
            bars.update(task, completed=60 * now)
            ended = [process.args for process in clients if process.poll() is not None]
            if ended:
                raise InputError(f"a client ended before its time: {ended}")
            time.sleep(max(interval, 0.02))

    with progress() as bars:
        task = bars.add_task("seconds", total=60 * minutes)
        with closing(_serve(place, port)) as server:
            began = time.monotonic()
            (place / "start").touch()
            watch(server, minutes / 2)
            killed = time.time()
            server.kill()
        watched.killed_at = (time.monotonic() - began) / 60
        restarted = time.monotonic()
        with closing(_serve(place, port)) as server:
            watched.restart_seconds = time.monotonic() - restarted
            watched.away = (killed, time.time() + _SETTLING_SECONDS)
            watch(server, minutes)
            alive = server.process.poll() is None
            (place / "stop").touch()
            for process in clients:
                process.wait(_ENDING_SECONDS)
    return alive


def _serve(place: Path, port: int) -> ServerProcess:
    return ServerProcess(zenso_command(port, "soak.zenso", "--keys", "keys.json"), port, place)


def judge(folder: Path, journal: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare what the memory holds with what was acknowledged.

    A client has ids of its own and one request at a time, so that its journal is in order. What was never answered may
    be done or not, but must be one of the two.
    """
    with Memory.open(folder) as memory:
        held = {document.id: document.text for document in memory}
    expected: dict[str, set[str | None]] = {}
    open_writes: dict[str, dict[str, str | None]] = {}
    acknowledged = unanswered = 0
    for entry in journal:
        match entry["event"]:
            case "begin":
                open_writes[entry["client"]] = entry["texts"]  # None for a document that is deleted
                for name, text in entry["texts"].items():
                    expected.setdefault(name, {None}).add(text)
            case "done":
                acknowledged += 1
                for name, text in open_writes.pop(entry["client"]).items():
                    expected[name] = {text}
            case "refused":  # with an answer that says so: nothing was done
                for name, text in open_writes.pop(entry["client"]).items():
                    if len(expected[name]) > 1:
                        expected[name].discard(text)
            case "unanswered":
                unanswered += 1
                open_writes.pop(entry["client"])
    lost = {name for name, texts in expected.items() if None not in texts and name not in held}
    resurrected = {name for name, texts in expected.items() if texts == {None} and name in held}
    changed = {name for name, text in held.items() if name not in resurrected and text not in expected.get(name, set())}
    findings = check_memory(folder).findings
    found = {"lost": lost, "undone": resurrected, "changed": changed}
    details = [f"{what}: {name}" for what, names in found.items() for name in sorted(names)[:5]]
    return {
        "acknowledged": acknowledged,
        "open": unanswered,
        "documents": len(held),
        "lost": len(lost),
        "resurrected": len(resurrected),
        "changed": len(changed),
        "findings": len(findings),
        "details": details + [f"{finding.fault}: {finding.detail}" for finding in findings[:5]],
    }
