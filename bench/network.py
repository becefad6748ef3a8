"""Nodes as processes on loopback: how fast records spread, how many a second, and how a node that was away catches up.

What a node holds is read from its file of records, so that nothing is asked of it while it is measured. Records of
many keys, as no key may send more than 100 an hour, come over gossip from peers of this process, with their work done
and their codes computed beforehand.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trio

from bench.gossip import Sender, senders
from bench.lessons import DATA, RecordMaker, distinct, sentences
from bench.node_process import NodeProcess, node_network
from bench.report import Scalar, progress
from zenso.errors import InputError
from zenso.network import Identity, Recomputer
from zenso.network.transport import first_error
from zenso.network.work import NEWCOMER_BITS
from zenso.zen import ZenEncoder, load_encoder

DOMAIN = "bench"
NODES, QUICK_NODES = 8, 3
SPREAD, QUICK_SPREAD = 200, 10
SUSTAINED, QUICK_SUSTAINED = 2000, 40
MISSED, QUICK_MISSED = 10_000, 40
_PER_KEY = 90  # records, of the 100 that one key may send in an hour
_SENDERS = 4
_PER_SECOND = 150  # of each sender; a node takes 200 from one peer
_ON_THEIR_WAY = 64  # records sent that not all nodes hold; more overflow the queues of libp2p, and are lost
_MESH_SECONDS = 3.0  # until gossip has made its meshes
_WAITING_SECONDS = 30.0
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
    texts = _lessons(encoder, options.data, spread + sustained + missed)
    records, made_seconds = _made(encoder, texts[spread:])
    with node_network(nodes, DOMAIN, _LIMITS) as network:
        time.sleep(_MESH_SECONDS)
        seconds = _spread(network, texts[:spread])
        busy = [node.processor_seconds for node in network]
        wire = _loopback_bytes()
        sustained_seconds = _send(network, records[:sustained])
        wire = _loopback_bytes() - wire
        busy = [node.processor_seconds - before for node, before in zip(network, busy, strict=True)]
        agreed = len({node.digest(DOMAIN) for node in network}) == 1
        refused = sum(sum(node.status()["refused"].values()) for node in network)
        for node in network[1:]:
            node.stop()
        _send(network[:1], records[sustained:])  # the others would only take its processors
        network[-1].start()
        began = time.monotonic()
        _Progress(network[-1:]).wait(network[0].count())
        caught_up = time.monotonic() - began
        agreed &= network[0].digest(DOMAIN) == network[-1].digest(DOMAIN)
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
        "nodes_agree": agreed,
        "refused": refused,
    }


def _lessons(encoder: ZenEncoder, folder: Path, count: int) -> list[str]:
    with progress() as bars:
        task = bars.add_task("choosing lessons", total=count)
        return distinct(encoder, sentences(folder), count, lambda found: bars.update(task, completed=found))


def _made(encoder: ZenEncoder, texts: Sequence[str]) -> tuple[list[bytes], float]:
    """Sign records of texts, with codes and work; return the time that it took."""
    maker = RecordMaker(Recomputer(encoder), DOMAIN)
    maker.add(Identity.generate(), "warm")
    began = time.monotonic()
    with progress() as bars:
        task = bars.add_task("making records", total=len(texts))
        made = maker.add_many(texts, _PER_KEY, lambda: bars.advance(task))
    return made, time.monotonic() - began


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
    try:
        return float(trio.run(_inject, nodes, records))
    except BaseExceptionGroup as group:
        raise first_error(group) from None


class _Progress:
    """How many records all nodes hold, as last seen."""

    def __init__(self, nodes: Sequence[NodeProcess]) -> None:
        self._nodes = nodes
        self._first = self.least = min(node.count() for node in nodes)

    def has_room(self, sent: int) -> bool:
        """Whether few enough records are on their way."""
        return self._first + sent < self.least + _ON_THEIR_WAY

    def wait(self, wanted: int) -> None:
        """Wait until all nodes hold so many records, as long as there are more every while."""
        held, moved = -1, time.monotonic()
        while self.least < wanted:
            counts = [node.count() for node in self._nodes]
            self.least = min(counts)
            if sum(counts) > held:
                held, moved = sum(counts), time.monotonic()
            if time.monotonic() > moved + _WAITING_SECONDS:
                refused = [dict(node.status()["refused"]) for node in self._nodes]
                message = f"nodes hold {counts} of {wanted} records, and none more for {_WAITING_SECONDS:g} s"
                raise InputError(f"{message}; they refused {refused}")
            time.sleep(0.02)


async def _inject(nodes: Sequence[NodeProcess], records: Sequence[bytes]) -> float:
    """Send records through some of the nodes, as fast as all nodes take them; return how long it took."""
    seen = _Progress(nodes)
    wanted = seen.least + len(records)
    sent = 0

    async def feed(peer: Sender, share: Sequence[bytes]) -> None:
        nonlocal sent
        for record in share:
            while not seen.has_room(sent):
                await trio.sleep(0.01)
            sent += 1
            await peer.send([record], _PER_SECOND)

    async with senders([node.address for node in nodes[:_SENDERS]], DOMAIN) as peers, trio.open_nursery() as nursery:
        began = time.monotonic()
        for number, peer in enumerate(peers):
            nursery.start_soon(feed, peer, records[number :: len(peers)])
        await trio.to_thread.run_sync(seen.wait, wanted)
        return time.monotonic() - began


def _loopback_bytes() -> int:
    """Return what the loopback device has carried, of all programs of this machine."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    raise InputError("this machine has no loopback device")
