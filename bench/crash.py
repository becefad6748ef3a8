"""Nothing acknowledged is lost: processes killed at random moments, full disks, and flipped bytes."""

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.crash_worker import OPERATIONS, Encoders, fitting, small_segments, work
from bench.other_model import with_other_slots
from bench.report import Scalar
from zenso.errors import ZensoError
from zenso.memory import Memory, check_memory, list_snapshots
from zenso.memory.database import FILE_NAME
from zenso.memory.segments import FOLDER_NAME
from zenso.memory.snapshots import check_snapshot, prune_snapshots
from zenso.memory.verify import verify_memory
from zenso.zen import load_encoder

ROUNDS, QUICK_ROUNDS = 200, 12
_MOST_SECONDS = 3.0  # from the first operation to the kill, if it did not come before
_KEPT_SNAPSHOTS = 4
_FOREVER = 10**9
_FULL_OPERATIONS = 25  # of a worker whose disk is full
_VERIFIED = 8  # documents of a round whose embeddings are computed again

State = dict[str, str]  # text by id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--rounds", type=int, metavar="N", help=f"kills ({ROUNDS}; with --quick {QUICK_ROUNDS})")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random (1)")


@dataclass(frozen=True)
class _Place:
    """Where a worker works, and with what."""

    folder: Path
    target: Path  # of snapshots
    encoders: Encoders


@dataclass
class _Tally:
    """What is counted over all rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # that each operation takes, about

    def took(self, operation: str, seconds: float) -> None:
        self.seconds[operation] = 0.7 * self.seconds.get(operation, seconds) + 0.3 * seconds

    def fail(self, what: str, detail: str) -> None:
        self.counts[what] += 1
        self.failures.append(f"{what}: {detail}")
        print(f"bench crash: {what}: {detail}", file=sys.stderr)


@dataclass
class _Expected:
    """What the memory must hold, and what it may hold instead if the last operation was done before its end."""

    state: State = field(default_factory=dict)
    snapshots: dict[str, State] = field(default_factory=dict)
    instead: State | None = None
    running: str = ""

    def read(self, line: str) -> None:
        """Take one line of a worker."""
        event: dict[str, Any] = json.loads(line)
        if "operation" in event:
            self.running = event["operation"]
            self.instead = self._after(event)
        elif "done" in event:
            self.state = self.state if self.instead is None else self.instead
            if "snapshot" in event:
                self.snapshots[event["snapshot"]] = self.state
            self.running, self.instead = "", None

    def settle(self, found: State) -> None:
        """Go on from what was found, which is one of the two."""
        self.state, self.instead, self.running = found, None, ""

    def _after(self, event: dict[str, Any]) -> State | None:
        if event["operation"] == "add":
            return {**self.state, **event["texts"]}
        if event["operation"] == "delete":
            return {name: text for name, text in self.state.items() if name not in set(event["ids"])}
        return self.snapshots.get(event["snapshot"]) if event["operation"] == "restore" else None


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Kill, fill and flip; the result says how often, and that nothing was lost."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    began = time.monotonic()
    # Segments that are found wrong, and a cache that could not be written, are what is provoked here.
    logging.getLogger("zenso.memory").setLevel(logging.ERROR)
    first = load_encoder(threads=1)
    encoders = (first, with_other_slots(first))
    tally = _Tally()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _kill_workers(_Place(place / "memory", place / "snapshots", encoders), rounds, options.seed, tally)
        _flip_segments(place, encoders, max(2, rounds // 4), options.seed, tally)
        _flip_database(place, encoders, max(4, rounds // 2), options.seed, tally)
        _fill_disks(place, encoders, max(2, rounds // 10), options.seed, tally)
    counts = tally.counts
    results: dict[str, Scalar] = {
        "rounds": rounds,
        "seed": options.seed,
        **{f"killed_during_{name}": counts[f"during {name}"] for name in (*OPERATIONS, "close")},
        "killed_between": counts["between"],
        "operations_done": counts["done"],
        "not_opened": counts["not opened"],
        "checks_not_clean": counts["not clean"],
        "states_lost": counts["lost"],
        "searches_wrong": counts["search"],
        "embeddings_wrong": counts["embedding"],
        "snapshots_wrong": counts["snapshot"],
        "segment_flips": counts["segment flips"],
        "segment_flips_detected": counts["segment flips detected"],
        "segment_flips_rebuilt": counts["segment flips rebuilt"],
        "database_flips": counts["database flips"],
        "database_flips_said": counts["database flips said"],
        "database_flips_without_effect": counts["database flips without effect"],
        "database_flips_missed": counts["database flips missed"],
        "full_disks": counts["full disks"],
        "full_disks_mounted": counts["full disks mounted"],
        "full_disk_refusals": counts["refused"],
        "failures": len(tally.failures),
        "seconds": round(time.monotonic() - began, 1),
    }
    return results


# --- killing ----------------------------------------------------------------------------------------------------


def _kill_workers(place: _Place, rounds: int, seed: int, tally: _Tally) -> None:
    generator = random.Random(seed)
    expected = _Expected()
    for number in range(rounds):
        if number % 20 == 0:
            print(f"bench crash: {number} of {rounds} kills", file=sys.stderr)
        focus = OPERATIONS[number % len(OPERATIONS)]
        # A little more than its whole time, so that the moment between two operations has its turn too.
        kill = _Kill(focus, generator.randrange(1, 4), generator.uniform(0, 1.1), tally.seconds)
        _watch(place, f"{seed}.{number}", focus, expected, tally, kill=kill)
        tally.counts[f"during {expected.running}" if expected.running else "between"] += 1
        if not _judge(place, expected, tally):
            return
        kept = {snapshot.path.name for snapshot in list_snapshots(place.target)} if place.target.is_dir() else set()
        expected.snapshots = {name: state for name, state in expected.snapshots.items() if name in kept}


@dataclass
class _Kill:
    """When a worker is killed: a moment after it began the ``nth`` operation of a kind, or else after a while."""

    focus: str
    nth: int
    share: float  # of the time that such an operation takes, as far as is known
    seconds: Mapping[str, float]
    pid: int = 0
    timers: list[threading.Timer] = field(default_factory=list)

    def see(self, operation: str) -> None:
        """Take note of an operation that begins."""
        if not self.timers:
            self._start(_MOST_SECONDS)
        self.nth -= operation == self.focus
        if self.nth == 0 and len(self.timers) == 1:
            self._start(self.share * self.seconds.get(operation, 0.02))

    def _start(self, delay: float) -> None:
        self.timers.append(threading.Timer(delay, os.kill, (self.pid, signal.SIGKILL)))
        self.timers[-1].start()

    def end(self) -> None:
        """Stop what has not struck yet; the process is waited for afterwards, so its number is still its own."""
        for timer in self.timers:
            timer.cancel()
            timer.join()


def _watch(
    place: _Place,
    seed: str,
    focus: str,
    expected: _Expected,
    tally: _Tally,
    *,
    kill: _Kill | None = None,
    limit: int | None = None,
) -> None:
    """Fork a worker and read what it says, until it is killed or, without ``kill``, ends by itself."""
    reading, writing = os.pipe()
    most = _FOREVER if kill else _FULL_OPERATIONS
    arguments = (place.folder, place.target, place.encoders, seed, writing)
    child = _fork(lambda: work(arguments, focus, most, limit), closing_end=reading)
    os.close(writing)
    if kill:
        kill.pid = child
    began = 0.0
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break  # killed while it wrote
            running = expected.running
            expected.read(line)
            if expected.running and expected.running != running:
                began = time.monotonic()
                if kill:
                    kill.see(expected.running)
            elif running and not expected.running:
                tally.counts["done"] += 1
                tally.took(running, time.monotonic() - began)
            tally.counts["refused"] += '"refused"' in line
    if kill:
        kill.end()
    _, status = os.waitpid(child, 0)
    if not kill and status:
        tally.fail("lost", f"{seed}: the worker ended with status {status}")


def _fork(action: Callable[[], None], *, closing_end: int) -> int:
    """Run an action in a copy of this process, which has loaded the encoders and started no thread that matters."""
    child = os.fork()
    if child:
        return child
    code = 0
    try:
        os.close(closing_end)
        action()
    except BaseException:  # noqa: BLE001 - reported by the exit status
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


# --- judging ----------------------------------------------------------------------------------------------------


def _judge(place: _Place, expected: _Expected, tally: _Tally) -> bool:
    """Look at the memory in a process of its own; False if it makes no sense to go on."""
    reading, writing = os.pipe()
    child = _fork(lambda: _report(place, writing), closing_end=reading)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    if not text:
        tally.fail("not opened", str(place.folder))
        return False
    found: dict[str, Any] = json.loads(text)
    if found["findings"]:
        tally.fail("not clean", f"while {expected.running or 'nothing'} ran: {found['findings'][:3]}")
    for what in ("search", "embedding", "snapshot"):
        for detail in found[what]:
            tally.fail(what, detail)
    for name, state in found["snapshots"].items():
        known = expected.snapshots.get(name)
        if known is not None and known != state:
            tally.fail("snapshot", f"{name} is not of the state it was taken of")
        expected.snapshots[name] = state
    lost = set(expected.snapshots) - set(found["snapshots"]) - set(found["pruned"])
    if lost:
        tally.fail("snapshot", f"acknowledged and not there: {sorted(lost)}")
    if found["state"] not in (expected.state, expected.instead):
        missing = len(expected.state.items() - found["state"].items())
        tally.fail("lost", f"while {expected.running or 'nothing'} ran: {missing} documents are not as acknowledged")
    expected.settle(found["state"])
    return True


def _report(place: _Place, pipe: int) -> None:
    """Say what a memory and its snapshots hold, and what is wrong with them."""
    small_segments()
    folder, target = place.folder, place.target
    report: dict[str, Any] = {"search": [], "embedding": [], "snapshot": [], "snapshots": {}, "pruned": []}
    found = check_memory(folder)
    report["findings"] = [f"{finding.fault}: {finding.detail}" for finding in found.findings]
    with Memory.open(folder) as opened:
        encoder = fitting(place.encoders, opened.info().provenance)
    with Memory.open(folder, encoder=encoder) as memory:
        report["state"] = {document.id: document.text for document in memory}
        hits = [hit.id for hit in memory.search("a document", k=10**6)]
        if sorted(hits) != sorted(report["state"]):
            report["search"].append(f"{len(hits)} hits in a memory of {len(report['state'])} documents")
    if report["state"]:
        verified = verify_memory(folder, encoder, sample=min(_VERIFIED, len(report["state"])))
        report["embedding"] += [f"{mismatch.cause}: {mismatch.detail}" for mismatch in verified.mismatches]
    for snapshot in list_snapshots(target) if target.is_dir() else []:
        try:
            report["snapshots"][snapshot.path.name] = _state(check_snapshot(snapshot))
        except ZensoError as error:
            report["snapshot"].append(str(error))
    if target.is_dir():
        report["pruned"] = [path.name for path in prune_snapshots(target, _KEPT_SNAPSHOTS)]
    with os.fdopen(pipe, "w", encoding="utf-8") as stream:
        json.dump(report, stream)


def _state(file: Path) -> State:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return dict(connection.execute("SELECT id, text FROM documents JOIN texts USING (seq)"))


# --- flipped bytes ----------------------------------------------------------------------------------------------


def _filled(place: Path, encoders: Encoders) -> tuple[Path, State]:
    """Make a memory with several segments, and return what it holds."""
    folder = place / f"filled {len(list(place.iterdir()))}"
    state = {f"id {number}": f"document {number} of those whose bytes are flipped" for number in range(80)}

    def fill() -> dict[str, Any]:
        small_segments()
        with Memory.open(folder, encoder=encoders[0]) as memory:
            memory.add(
                list(state.values()), ids=list(state), metadata=[{"n": n, "tags": ["a", "b"]} for n in range(80)]
            )
            memory.delete(["id 3", "id 40"])
        return {}

    _ask(fill)
    return folder, {name: text for name, text in state.items() if name not in ("id 3", "id 40")}


def _flip_segments(place: Path, encoders: Encoders, rounds: int, seed: int, tally: _Tally) -> None:
    generator = random.Random(seed)
    folder, state = _filled(place, encoders)
    for _ in range(rounds):
        file = generator.choice(sorted((folder / FOLDER_NAME).iterdir()))
        _flip(file, generator)
        tally.counts["segment flips"] += 1
        answers = _ask(lambda: _segment_answers(folder, encoders))
        tally.counts["segment flips detected"] += answers.get("detected", False)
        tally.counts["segment flips rebuilt"] += answers.get("rebuilt", False)
        if answers != {"detected": True, "state": state, "search": True, "rebuilt": True}:
            tally.fail("lost", f"after bytes were flipped in {file.name}: {answers}")


def _segment_answers(folder: Path, encoders: Encoders) -> dict[str, Any]:
    small_segments()
    detected = not check_memory(folder).ok
    with Memory.open(folder, encoder=encoders[0], read_only=True) as memory:
        state = {document.id: document.text for document in memory}
        search = {hit.id for hit in memory.search("document", k=10**6)} == set(state)
    return {"detected": detected, "state": state, "search": search, "rebuilt": check_memory(folder, repair=True).ok}


def _flip_database(place: Path, encoders: Encoders, rounds: int, seed: int, tally: _Tally) -> None:
    generator = random.Random(seed)
    folder, _ = _filled(place, encoders)
    expected = _ask(lambda: _database_answers(folder, encoders))
    for number in range(rounds):
        copy = place / f"flipped {number}"
        shutil.copytree(folder, copy)
        _flip(copy / FILE_NAME, generator)
        answers = _ask(lambda copy=copy: _database_answers(copy, encoders))  # type: ignore[misc]
        tally.counts["database flips"] += 1
        if not answers["ok"]:
            tally.counts["database flips said"] += 1
        elif answers == expected:
            tally.counts["database flips without effect"] += 1
        else:
            tally.fail("database flips missed", f"flip {number} of seed {seed}")
        shutil.rmtree(copy)


def _database_answers(folder: Path, encoders: Encoders) -> dict[str, Any]:
    small_segments()
    try:
        if not check_memory(folder).ok:
            return {"ok": False}
    except ZensoError:
        return {"ok": False}
    with Memory.open(folder, encoder=encoders[0], read_only=True) as memory:
        documents = [(document.id, document.text, document.metadata) for document in memory]
        hits = [(hit.id, hit.score) for hit in memory.search("document 7", k=10**6, where={"tags": "b"})]
    return {"ok": True, "documents": documents, "hits": hits}


def _flip(file: Path, generator: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(generator.randrange(1, 5)):
        content[generator.randrange(len(content))] ^= generator.randrange(1, 256)
    file.write_bytes(content)


def _ask(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what an action gives in a process of its own."""
    reading, writing = os.pipe()

    def answer() -> None:
        with os.fdopen(writing, "w", encoding="utf-8") as stream:
            json.dump(action(), stream)

    child = _fork(answer, closing_end=reading)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    answers: dict[str, Any] = json.loads(text) if text else {"ok": True, "crashed": True}
    return answers


# --- full disks -------------------------------------------------------------------------------------------------


def _fill_disks(place: Path, encoders: Encoders, rounds: int, seed: int, tally: _Tally) -> None:
    """Let workers run into a disk that is full: every other one into a small mounted one where that is allowed."""
    generator = random.Random(seed)
    for number in range(rounds):
        with _small_disk(place) as disk:
            mounted = disk is not None and number % 2 == 0
            root = disk if disk is not None and mounted else place / f"limited {number}"
            expected = _Expected()
            place_of_one = _Place(root / "memory", root / "snapshots", encoders)
            _fill_one(place_of_one, f"{seed}.full.{number}", expected, tally, generator, mounted=mounted)
            tally.counts["full disks"] += 1
            tally.counts["full disks mounted"] += mounted
            _judge(place_of_one, expected, tally)


def _fill_one(
    place: _Place, seed: str, expected: _Expected, tally: _Tally, generator: random.Random, *, mounted: bool
) -> None:
    """Start with space enough, then with little, and leave the memory with space again."""
    _watch(place, f"{seed}.before", "add", expected, tally)
    ballast = place.folder.parent / "ballast"
    limit = None
    if mounted:
        free = shutil.disk_usage(place.folder.parent).free
        ballast.write_bytes(bytes(max(0, free - generator.randrange(20_000, 400_000))))
    else:
        limit = (place.folder / FILE_NAME).stat().st_size + generator.randrange(-100_000, 200_000)
    _watch(place, f"{seed}.during", generator.choice(OPERATIONS), expected, tally, limit=limit)
    ballast.unlink(missing_ok=True)


@contextmanager
def _small_disk(place: Path) -> Iterator[Path | None]:
    """Mount a file system of a few megabytes; None where that is not allowed."""
    disk = place / "disk"
    disk.mkdir(exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if not mount or not umount or subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run([umount, str(disk)], check=True)
