"""Nodes as processes on loopback: how fast records spread, how many a second, and how a node that was away catches up.

What a node holds is read from its file of records, so that nothing is asked of it while it is measured. Records of
many keys, as no key may send more than 100 an hour, come over gossip from peers of this process, with their work done
and their codes computed beforehand.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import trio

from bench.node_process import NodeProcess
from bench.report import Scalar, progress
from zenso.errors import InputError
from zenso.network import Identity, Operation, Recomputer, sign_record
from zenso.network.transport import Transport
from zenso.network.work import NEWCOMER_BITS
from zenso.zen import ZenEncoder, load_encoder

DATA = Path("../shared/data/nq_utd")
DOMAIN = "bench"
NODES, QUICK_NODES = 8, 3
SPREAD, QUICK_SPREAD = 200, 10
SUSTAINED, QUICK_SUSTAINED = 2000, 40
MISSED, QUICK_MISSED = 10_000, 40
_PER_KEY = 90  # records, of the 100 that one key may send in an hour
_INJECTORS = 4
_PER_SECOND = 150  # of each injector; a node takes 200 from one peer
_NEIGHBOURS = 3  # whom each node dials
_WAITING_SECONDS = 30.0
_MOST_COSINE = 0.85  # of two texts; nodes refuse .9
_LIMITS = {"messages_per_second": 2000, "burst": 4000}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--nodes", type=int, metavar="N", help=f"processes ({NODES}; with --quick {QUICK_NODES})")
    parser.add_argument("--spread", type=int, metavar="N", help=f"records sent one at a time ({SPREAD})")
    parser.add_argument("--sustained", type=int, metavar="N", help=f"records sent as fast as taken ({SUSTAINED})")
    parser.add_argument("--missed", type=int, metavar="N", help=f"records that a node catches up on ({MISSED})")
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help=f"texts, in the BEIR layout ({DATA})")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    quick = options.quick
    nodes = options.nodes or (QUICK_NODES if quick else NODES)
    spread = options.spread or (QUICK_SPREAD if quick else SPREAD)
    sustained = options.sustained or (QUICK_SUSTAINED if quick else SUSTAINED)
    missed = options.missed or (QUICK_MISSED if quick else MISSED)
    if nodes < 2 or spread > _PER_KEY * nodes:
        raise InputError(f"--nodes {nodes} and --spread {spread}: at least 2 nodes, and {_PER_KEY} records of each")
    encoder = load_encoder()
    texts = _distinct(encoder, _texts(options.data), spread + sustained + missed)
    records, made_seconds = _made(Recomputer(encoder), texts[spread:])
    with _network(nodes) as network:
        seconds = _spread(network, texts[:spread])
        busy = [node.processor_seconds for node in network]
        wire = _loopback_bytes()
        sustained_seconds = _send(network, records[:sustained])
        wire = _loopback_bytes() - wire
        busy = [node.processor_seconds - before for node, before in zip(network, busy, strict=True)]
        network[-1].stop()
        _send(network[:-1], records[sustained:])
        network[-1].start()
        began = time.monotonic()
        _wait(network[-1:], network[0].count())
        caught_up = time.monotonic() - began
        digests = {node.digest(DOMAIN) for node in network}
        refused = sum(sum(node.status()["refused"].values()) for node in network)
    return {
        "nodes": nodes,
        "spread_records": spread,
        "spread_p50_ms": 1000 * float(np.quantile(seconds, 0.5)),
        "spread_p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        "spread_max_ms": 1000 * max(seconds),
        "sustained_records": sustained,
        "sustained_records_per_s": sustained / sustained_seconds,
        "sustained_cpu_share_mean": float(np.mean(busy)) / sustained_seconds,
        "sustained_cpu_share_max": max(busy) / sustained_seconds,
        "sustained_cpu_ms_per_record_and_node": 1000 * float(np.mean(busy)) / sustained,
        "record_bytes_mean": float(np.mean([len(record) for record in records])),
        "wire_bytes_per_record_and_node": wire / sustained / nodes,
        "missed_records": missed,
        "catch_up_seconds": caught_up,
        "catch_up_records_per_s": missed / caught_up,
        "records_made_per_s": len(records) / made_seconds,
        "work_bits": NEWCOMER_BITS,
        "nodes_agree": len(digests) == 1,
        "refused": refused,
    }


def _texts(folder: Path) -> Iterator[str]:
    file = folder / "corpus.jsonl"
    if not file.exists():
        raise InputError(f"{file} is missing; give --data a folder in the BEIR layout")
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if text := json.loads(line)["text"][:1000].strip():
                yield text


def _distinct(encoder: ZenEncoder, texts: Iterator[str], count: int) -> list[str]:
    """Return texts that no node takes for near-duplicates of one another."""
    found: list[str] = []
    kept = np.zeros((0, 384), np.float32)
    with progress() as bars:
        task = bars.add_task("choosing texts", total=count)
        while len(found) < count:
            batch = list(islice(texts, 64))
            if not batch:
                raise InputError(f"--data has {len(found):,} distinct texts; ask for fewer records than {count:,}")
            for text, vector in zip(batch, encoder.encode_vectors(batch).astype(np.float32) / 32_767, strict=True):
                if len(found) < count and (kept @ vector).max(initial=0.0) < _MOST_COSINE:
                    found.append(text)
                    kept = np.vstack([kept, vector])
            bars.update(task, completed=len(found))
    return found


def _made(recomputer: Recomputer, texts: Sequence[str]) -> tuple[list[bytes], float]:
    """Sign records of texts with keys of their own, with codes and work."""
    recomputer.fields("warm")
    made = []
    began = time.monotonic()
    with progress() as bars:
        task = bars.add_task("making records", total=len(texts))
        for place, text in enumerate(texts):
            if place % _PER_KEY == 0:
                identity = Identity.generate()
            fields: dict[str, Any] = {"text": text, "confidence": 0.5, **recomputer.fields(text)}
            now = time.time_ns() // 1_000_000
            made.append(sign_record(identity, Operation.ADD, DOMAIN, now, bits=NEWCOMER_BITS, **fields).encoded)
            bars.advance(task)
    return made, time.monotonic() - began


@contextmanager
def _network(count: int) -> Iterator[list[NodeProcess]]:
    """Start nodes, each connected with some of those before it, and wait until gossip has made its meshes."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        nodes: list[NodeProcess] = []
        for number in range(count):
            peers = [node.address for node in nodes[-_NEIGHBOURS:]]
            nodes.append(NodeProcess(Path(name) / str(number), peers, domains=[DOMAIN], limits=_LIMITS))
            stack.callback(nodes[-1].close)
        deadline = time.monotonic() + 60
        while any(not node.status()["peers"] for node in nodes) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(3)
        yield nodes


def _spread(nodes: Sequence[NodeProcess], texts: Sequence[str]) -> list[float]:
    """Submit one at a time; return the times from when its own node had each until all had it."""
    seconds = []
    for number, text in enumerate(texts):
        origin = nodes[number % len(nodes)]
        wanted = [node.count() + 1 for node in nodes]
        origin.ask("submit", text=text)  # answered once it is stored and handed to gossip
        began = time.monotonic()
        while any(node.count() < count for node, count in zip(nodes, wanted, strict=True)):
            if time.monotonic() - began > 60:
                raise InputError(f"record {number} did not reach all nodes in a minute")
            time.sleep(0.001)
        seconds.append(time.monotonic() - began)
    return seconds


def _send(nodes: Sequence[NodeProcess], records: Sequence[bytes]) -> float:
    """Send records by gossip; return the time until all nodes hold them."""
    wanted = nodes[0].count() + len(records)
    return float(trio.run(_inject, nodes, wanted, records))


def _wait(nodes: Sequence[NodeProcess], wanted: int) -> None:
    deadline = time.monotonic() + _WAITING_SECONDS
    while (counts := [node.count() for node in nodes]) and min(counts) < wanted:
        if time.monotonic() > deadline:
            raise InputError(f"nodes hold {counts} of {wanted} records after {_WAITING_SECONDS:g} s")
        time.sleep(0.02)


async def _inject(nodes: Sequence[NodeProcess], wanted: int, records: Sequence[bytes]) -> float:
    """Send records as peers of some nodes, not faster than nodes take them from one peer, until all nodes have them."""

    async def ignore(*_: str | bytes) -> bool:
        return False

    async def fault(*_: str) -> None:
        return

    async def send(peer: Transport, share: Sequence[bytes]) -> None:
        began = trio.current_time()
        for number, record in enumerate(share):
            await peer.publish(topic, record)
            await trio.sleep_until(began + number / _PER_SECOND)

    topic = f"/zenso/1/{DOMAIN}"
    async with AsyncExitStack() as stack:
        peers = []
        for address in [node.address for node in nodes[:_INJECTORS]]:
            peer = Transport(
                Identity.generate().seed,
                ["/ip4/127.0.0.1/tcp/0"],
                topics=[topic],
                message_bytes=65_536,
                waiting=1000,
                gate=lambda _: True,
                welcome=lambda _: True,
                on_fault=fault,
            )
            await stack.enter_async_context(peer.running())
            await peer.subscribe(topic, ignore)
            if not await peer.connect(address):
                raise InputError(f"the node at {address} cannot be reached")
            peers.append(peer)
        await trio.sleep(2)  # until the meshes are made
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for number, peer in enumerate(peers):
                nursery.start_soon(send, peer, records[number :: len(peers)])
        await trio.to_thread.run_sync(_wait, nodes, wanted)
        return time.monotonic() - began


def _loopback_bytes() -> int:
    """Return what the loopback device has carried, of all programs of this machine."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    raise InputError("this machine has no loopback device")
