"""Nodes under load for an hour: they end with the same records, lose nothing that was acknowledged, and stay small.

Two loads at once: peers of this process send lessons of many keys at a steady rate, and have old ones deleted, so that
as many stand at the end as soon after the beginning; and each node is asked to search, to submit and to vote. Halfway
one node is killed and started again.
"""

import argparse
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trio

from bench.gossip import Sender, senders
from bench.lessons import DATA, RecordMaker, distinct, sentences
from bench.node_process import NodeProcess, eventually, node_network
from bench.report import Scalar, progress
from zenso.errors import InputError
from zenso.network import Identity, Recomputer, Record
from zenso.zen import load_encoder

DOMAIN = "bench"
NODES, QUICK_NODES = 8, 3
MINUTES, QUICK_MINUTES = 60.0, 0.3
PER_SECOND = 2.0
STANDING = 1000  # lessons of the senders' keys that stand at a time
WARM_UP = 0.2  # share of the time after which memory is expected to be flat
_SENDERS = 2
_PER_KEY = 80  # lessons, and then five deletions, of the 100 records that one key may send in an hour
_DELETED_AT_ONCE = 16
_SEARCH_SECONDS, _SUBMIT_SECONDS, _VOTE_SECONDS = 1.0, 60.0, 150.0  # of each node; its key may send 100 an hour too
_SAMPLES = 400  # of memory, in the whole time
_CONVERGING_SECONDS = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--nodes", type=int, metavar="N", help=f"processes ({NODES}; with --quick {QUICK_NODES})")
    minutes = f"of load ({MINUTES:g}; with --quick {QUICK_MINUTES:g})"
    parser.add_argument("--minutes", type=float, metavar="N", help=minutes)
    parser.add_argument(
        "--rate", type=float, default=PER_SECOND, metavar="N", help=f"lessons a second ({PER_SECOND:g})"
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help=f"texts, in the BEIR layout ({DATA})")


@dataclass
class _Seen:
    """What the load did, and what was seen of the nodes meanwhile."""

    counts: Counter[str] = field(default_factory=Counter)
    search_ms: list[float] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)  # ids that a node acknowledged
    sent: list[str] = field(default_factory=list)  # ids that went out by gossip
    away: set[int] = field(default_factory=set)  # nodes that are killed just now
    minutes: list[float] = field(default_factory=list)
    megabytes: list[list[float]] = field(default_factory=list)  # of each node, at each of these minutes

    def slopes(self, first: float, nodes: Sequence[int]) -> list[float]:
        """Return by how many MB an hour the memory of some nodes grows: lines through what came after a minute."""
        times = np.array(self.minutes)
        late = times >= first
        sizes = np.array(self.megabytes)[:, list(nodes)][late]
        return [60 * float(slope) for slope in np.polyfit(times[late], sizes, 1)[0]] if late.sum() > 2 else []


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Load, kill, load on, and judge; the keys are documented in README.md."""
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    count = options.nodes or (QUICK_NODES if options.quick else NODES)
    if count < 2 or options.rate <= 0:
        raise InputError(f"--nodes {count} and --rate {options.rate:g}: at least 2 nodes, and a rate above 0")
    encoder = load_encoder()
    own = 1 + int(60 * minutes / _SUBMIT_SECONDS)
    with progress() as bars:
        wanted = int(60 * minutes * options.rate) + count * own
        task = bars.add_task("choosing lessons", total=wanted)
        texts = distinct(encoder, sentences(options.data), wanted, lambda found: bars.update(task, completed=found))
    seen = _Seen()
    with node_network(count, DOMAIN) as nodes:
        load = _Load(nodes, RecordMaker(Recomputer(encoder), DOMAIN), texts, options.rate, 60 * minutes, seen)
        trio.run(load.run)
        began = time.monotonic()
        eventually(lambda: len({node.digest(DOMAIN) for node in nodes}) == 1, _CONVERGING_SECONDS, 0.5)
        converged = time.monotonic() - began
        held = [node.ids() for node in nodes]
        statuses = [node.status() for node in nodes]
        busy = [node.processor_seconds for node in nodes[1:]]  # all but the one that was started anew
    refused: Counter[str] = Counter()
    for status in statuses:
        refused.update(status["refused"])
    domain = statuses[0]["domains"][DOMAIN]
    first = minutes * WARM_UP
    late = np.array(seen.megabytes)[np.array(seen.minutes) >= first][:, 1:]
    slopes = seen.slopes(first, range(1, count))
    lost = sum(any(one not in ids for ids in held) for one in seen.submitted)
    return {
        "nodes": count,
        "minutes": minutes,
        "rate_per_s": options.rate,
        **{name: seen.counts[name] for name in ("lessons", "deletions", "submitted", "voted", "searches", "failed")},
        "search_p50_ms": float(np.quantile(seen.search_ms, 0.5)),
        "search_p99_ms": float(np.quantile(seen.search_ms, 0.99)),
        "records": domain["records"],
        "experiences": domain["experiences"],
        "kills": 1,
        "converged_seconds": converged,
        "acknowledged_lost": lost,
        "records_missing": sum(any(one not in ids for ids in held) for one in seen.sent),
        "transport_restarts": sum(status["counts"].get("restarts", 0) for status in statuses),
        "refused": sum(refused.values()),
        "refused_reasons": ", ".join(f"{reason} {number}" for reason, number in sorted(refused.items())),
        "memory_mb_warm_mean": float(late[:5].mean()),
        "memory_mb_end_mean": float(late[-5:].mean()),
        "memory_mb_max": float(np.array(seen.megabytes).max()),
        "memory_slope_mb_per_hour_mean": float(np.mean(slopes)) if slopes else None,
        "memory_slope_mb_per_hour_max": max(slopes, default=None),
        "cpu_share_mean": float(np.mean(busy)) / (60 * minutes),
    }


@dataclass
class _Load:
    """All that is done to the nodes."""

    nodes: Sequence[NodeProcess]
    maker: RecordMaker
    texts: Sequence[str]
    rate: float
    seconds: float
    seen: _Seen

    async def run(self) -> None:
        """Do it for so many seconds."""
        self._texts = iter(self.texts)
        self._random = random.Random(1)  # the same load each time
        async with senders([node.address for node in self.nodes[1 : 1 + _SENDERS]], DOMAIN) as peers:
            with trio.move_on_after(self.seconds):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send, peers)
                    nursery.start_soon(self._watch)
                    nursery.start_soon(self._kill)
                    for number in range(len(self.nodes)):
                        nursery.start_soon(self._repeat, _SEARCH_SECONDS, self._search, number)
                        nursery.start_soon(self._repeat, _SUBMIT_SECONDS, self._submit, number)
                        nursery.start_soon(self._repeat, _VOTE_SECONDS, self._vote, number)

    async def _send(self, peers: Sequence[Sender]) -> None:
        """Send lessons of one key after the other, and deletions of what is old, to one node after the other."""
        turns = itertools.cycle(peers)
        standing: deque[tuple[Identity, list[bytes]]] = deque()
        began, sent = trio.current_time(), 0
        while True:
            identity, ids = Identity.generate(), list[bytes]()
            standing.append((identity, ids))
            for text in itertools.islice(self._texts, _PER_KEY):
                record = await trio.to_thread.run_sync(self.maker.add, identity, text)
                ids.append(record.id)
                await self._publish(next(turns), record)
                self.seen.counts["lessons"] += 1
                sent += 1
                await trio.sleep_until(began + sent / self.rate)
            if not ids:
                return
            if sum(len(ids) for _, ids in standing) > STANDING:
                identity, ids = standing.popleft()
                for start in range(0, len(ids), _DELETED_AT_ONCE):
                    targets = sorted(ids[start : start + _DELETED_AT_ONCE])
                    record = await trio.to_thread.run_sync(self.maker.delete, identity, targets)
                    await self._publish(next(turns), record)
                    self.seen.counts["deletions"] += 1

    async def _publish(self, peer: Sender, record: Record) -> None:
        await peer.send([record.encoded], 1000)
        self.seen.sent.append(record.id_text)

    async def _watch(self) -> None:
        began = trio.current_time()
        with progress() as bars:
            task = bars.add_task("minutes of load", total=self.seconds / 60)
            while True:
                minutes = (trio.current_time() - began) / 60
                self.seen.minutes.append(minutes)
                self.seen.megabytes.append(
                    [0.0 if number in self.seen.away else node.memory_mb for number, node in enumerate(self.nodes)]
                )
                bars.update(task, completed=minutes)
                await trio.sleep(self.seconds / _SAMPLES)

    async def _kill(self) -> None:
        await trio.sleep(self.seconds / 2)
        self.seen.away.add(0)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.nodes[0].kill)
            await trio.sleep(self.seconds / 60)
            await trio.to_thread.run_sync(self.nodes[0].start)
        self.seen.away.discard(0)

    async def _repeat(self, seconds: float, action: Any, number: int) -> None:  # noqa: ANN401 - a method of this class
        while True:
            await trio.sleep(seconds * self._random.uniform(0.5, 1.5))
            if number not in self.seen.away:
                await action(number)

    async def _search(self, number: int) -> None:
        query = self._random.choice(self.texts)
        began = time.perf_counter()
        found = await self._ask(number, "search", query=query, k=5)
        if found is not None:
            self.seen.search_ms.append(1000 * (time.perf_counter() - began))
            self.seen.counts["searches"] += 1

    async def _submit(self, number: int) -> None:
        text = next(self._texts, None)
        if text is not None and (done := await self._ask(number, "submit", text=text)) is not None:
            self.seen.submitted.append(done["id"])
            self.seen.counts["submitted"] += 1

    async def _vote(self, number: int) -> None:
        found = await self._ask(number, "search", query=self._random.choice(self.texts), k=1)
        if found and found["experiences"]:
            target = found["experiences"][0]["id"]
            if await self._ask(number, "vote", target=target, vote=1) is not None:
                self.seen.counts["voted"] += 1

    async def _ask(self, number: int, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Ask a node; None where it was killed meanwhile, or refused."""
        try:
            ask = partial(self.nodes[number].ask, command, **arguments)
            with trio.CancelScope(shield=True):  # what it acknowledges is to be remembered
                return await trio.to_thread.run_sync(ask)
        except InputError:
            if number not in self.seen.away:
                self.seen.counts["failed"] += 1
            return None
