"""Nodes as hosts of a network that is cut in two while both sides write, and made whole: nothing is lost.

Six hosts, three a side (``bench/emulated_network.py``). Each scenario begins anew: a plain partition, one in which the
network also loses and delays packets all the time, and one in which a node of each side is killed and started again.
Every write that a node acknowledged is remembered, and looked for on all nodes in the end.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from bench.emulated_network import EmulatedNetwork
from bench.node_process import NodeProcess, eventually
from bench.report import Scalar, progress
from zenso.errors import InputError
from zenso.memory.ingest import standard_library_docstrings
from zenso.network import RecordStore
from zenso.network.records import parse_id

SECONDS, QUICK_SECONDS = 60.0, 5.0
HOSTS = 6
SIDES = ((0, 1, 2), (3, 4, 5))
KILLED = (1, 4)
PORT = 7681
DOMAIN = "general"
_CAPACITY_BYTES = 50_000_000
_RECEIVE = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print(flush=True)
    connection, _ = server.accept()
    left = int(sys.argv[3])
    while left:
        left -= len(connection.recv(min(left, 1 << 20)))
    print(flush=True)
"""
_SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    connection.sendall(bytes(int(sys.argv[3])))
"""
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_DIALLED = 3  # of the nodes before it, by each
_PER_KEY = 90  # records, of the 100 that one key may send in an hour
_MOST_CHARACTERS = 300  # of a text: what is measured here is not how fast texts are embedded
_MEETING_SECONDS = 300.0
_HEALING_SECONDS = 300.0
_PAUSE_SECONDS = 1.0  # between two writes to one node
_ATTEMPT_SECONDS = 0.2  # between attempts to write to a node that is away


@dataclass(frozen=True)
class Scenario:
    """What happens besides the partition."""

    loss: float = 0.0  # share of the packets
    delay_seconds: float = 0.0  # of each packet, one way
    kills: bool = False


SCENARIOS = {
    "plain": Scenario(),
    "lossy": Scenario(loss=0.2, delay_seconds=0.2),
    "killed": Scenario(kills=True),
}


@dataclass
class Journal:
    """What was acknowledged; writers of all nodes share it."""

    acknowledged: set[str] = field(default_factory=set)  # ids of records of all kinds
    withdrawn: set[str] = field(default_factory=set)  # ids of lessons
    lessons: list[set[str]] = field(default_factory=lambda: [set() for _ in range(HOSTS)])  # that stand, by node
    votes: int = 0
    refused: int = 0
    lock: Lock = field(default_factory=Lock)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    seconds = f"of the partition ({SECONDS:g}; with --quick {QUICK_SECONDS:g})"
    parser.add_argument("--seconds", type=float, metavar="N", help=seconds)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random (1)")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    found: dict[str, Scalar] = {"hosts": HOSTS, "congestion_control": _CONGESTION.read_text().strip(), **_capacity()}
    with progress() as bars:
        task = bars.add_task("scenarios", total=len(SCENARIOS))
        for name, scenario in SCENARIOS.items():
            results = run_scenario(scenario, seconds, seed=options.seed)
            found |= {f"{name}_{key}": value for key, value in results.items()}
            bars.advance(task)
    return found


def run_scenario(
    scenario: Scenario,
    seconds: float,
    *,
    seed: int = 1,
    limits: Mapping[str, float] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Scalar]:
    """Run one scenario from six new nodes to what all of them hold in the end.

    Parameters
    ----------
    scenario : Scenario
    seconds : float
        Of the partition.
    seed : int
    limits, environment : mapping, optional
        Of the nodes.

    Raises
    ------
    InputError
        No network can be emulated here, or the nodes did not come to hold the same in time.
    """
    bad = scenario.delay_seconds, scenario.loss
    journal = Journal()
    with tempfile.TemporaryDirectory() as name, EmulatedNetwork(HOSTS, seed) as network, ExitStack() as stack:
        network.change(*bad)
        nodes: list[NodeProcess] = []
        for host in range(HOSTS):
            peers = [f"{_listen(network, other)}/p2p/{nodes[other].peer}" for other in range(host)]
            node = NodeProcess(
                Path(name) / str(host),
                peers[-_DIALLED:],
                listen=_listen(network, host),
                limits=limits,
                prefix=network.prefix(host),
                environment=environment,
                started=False,
            )
            nodes.append(node)

        def start(node: NodeProcess) -> None:
            node.start()
            stack.callback(node.close)

        with ThreadPoolExecutor(len(nodes)) as threads:
            list(threads.map(start, nodes))
        met = _meet(nodes, journal)
        before = len(journal.acknowledged)
        network.change(*bad, SIDES)
        began = time.monotonic()
        _write(nodes, journal, seconds, seed, killed=KILLED if scenario.kills else ())
        parted = time.monotonic() - began
        held = [node.count() for node in nodes]
        packets = network.change(*bad)
        began = time.monotonic()
        eventually(lambda: len({node.digest() for node in nodes}) == 1, _HEALING_SECONDS, 0.1)
        healed = time.monotonic() - began
        status = [node.status() for node in nodes]
        for node in nodes:
            node.stop()
        missing, undone, lost, agree = _compare(nodes, journal)
    written = len(journal.acknowledged) - before
    return {
        "loss": scenario.loss,
        "delay_ms": 1000 * scenario.delay_seconds,
        "kills": len(KILLED) if scenario.kills else 0,
        "meeting_seconds": met,
        "partition_seconds": parted,
        "acknowledged": written,
        "votes": journal.votes,
        "withdrawals": len(journal.withdrawn),
        "writes_refused": journal.refused,
        "held_at_healing_min": min(held),
        "held_at_healing_max": max(held),
        "healing_seconds": healed,
        "held_after": status[0]["domains"][DOMAIN]["records"],
        "acknowledged_missing": missing,
        "withdrawn_standing": undone,
        "lessons_lost": lost,
        "nodes_agree": agree,
        "cut_off": sum(one["counts"].get("cut_off", 0) for one in status),
        "restarts": sum(one["counts"].get("restarts", 0) for one in status),
        "packets_forwarded": packets["forwarded"],
        "packets_lost": packets["lost"],
        "packets_cut": packets["cut"],
        "packet_late_ms_max": packets["late_us"] / 1000,
    }


def _capacity() -> dict[str, Scalar]:
    """Send as much as goes from one host to another: what the network does not limit."""
    with EmulatedNetwork(2) as network:
        target = [network.address(1), str(PORT), str(_CAPACITY_BYTES)]
        receiver = [*network.prefix(1), sys.executable, "-c", _RECEIVE, *target]
        with subprocess.Popen(receiver, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            before = network.change()["forwarded"]
            began = time.monotonic()
            subprocess.run([*network.prefix(0), sys.executable, "-c", _SEND, *target], check=True)
            process.stdout.readline()
            seconds = time.monotonic() - began
        packets = network.change()["forwarded"] - before
    return {
        "network_packets_per_s": packets / seconds,
        "network_mb_per_s": _CAPACITY_BYTES / 1e6 / seconds,
    }


def _listen(network: EmulatedNetwork, host: int) -> str:
    return f"/ip4/{network.address(host)}/tcp/{PORT}"


def _meet(nodes: Sequence[NodeProcess], journal: Journal) -> float:
    """Let each node submit one lesson; return the time until all hold all."""
    began = time.monotonic()
    for number, node in enumerate(nodes):
        submitted = node.ask("submit", text=f"Node {number} says {random.Random(number).randbytes(16).hex()}.")
        journal.acknowledged.add(submitted["id"])
        journal.lessons[number].add(submitted["id"])
    eventually(lambda: all(node.count() == len(nodes) for node in nodes), _MEETING_SECONDS)
    return time.monotonic() - began


def _write(nodes: Sequence[NodeProcess], journal: Journal, seconds: float, seed: int, killed: Sequence[int]) -> None:
    """Write to all nodes at once for some seconds; those to be killed are away for the second third of it."""
    texts = sorted({one.docstring[:_MOST_CHARACTERS] for one in standard_library_docstrings() if one.docstring.strip()})
    random.Random(seed).shuffle(texts)
    over = Event()
    with ThreadPoolExecutor(2 * len(nodes)) as threads:
        writers = [
            threads.submit(_write_to, node, number, texts[number :: len(nodes)], journal, over)
            for number, node in enumerate(nodes)
        ]
        try:
            time.sleep(seconds / 3)
            for one in killed:
                nodes[one].kill()
            time.sleep(seconds / 3)
            started = [threads.submit(nodes[one].start) for one in killed]
            time.sleep(seconds / 3)
            for start in started:
                start.result()
        finally:
            over.set()
        for writer in writers:
            writer.result()


def _write_to(node: NodeProcess, number: int, texts: Sequence[str], journal: Journal, over: Event) -> None:
    """Submit to one node, and at times withdraw own lessons and vote on those of its side."""
    chance = random.Random(texts[0])
    side = next(side for side in SIDES if number in side)
    left = list(texts)
    written = 0
    while not over.is_set() and written < _PER_KEY:
        with journal.lock:
            own = sorted(journal.lessons[number])
            seen = sorted(set().union(*(journal.lessons[other] for other in side if other != number)))
        kind = chance.random()
        try:
            if kind < 0.1 and own:
                target = chance.choice(own)
                answer = node.ask("withdraw", targets=[target])
                with journal.lock:
                    journal.withdrawn.add(target)
                    journal.lessons[number].discard(target)
            elif kind < 0.25 and seen:
                answer = node.ask("vote", target=chance.choice(seen), vote=chance.choice((1, -1)))
                with journal.lock:
                    journal.votes += 1
            else:
                answer = node.ask("submit", text=left.pop(), confidence=0.5)
                with journal.lock:
                    journal.lessons[number].add(answer["id"])
        except InputError as error:  # a near-duplicate, a target that has not come yet, or the node is away
            with journal.lock:
                journal.refused += "refused (" in str(error)
            over.wait(_ATTEMPT_SECONDS)
            continue
        journal.acknowledged.add(answer["id"])
        written += 1
        over.wait(_PAUSE_SECONDS)


def _compare(nodes: Sequence[NodeProcess], journal: Journal) -> tuple[int, int, int, bool]:
    """Look for everything in the files of all nodes, which have ended.

    Returns
    -------
    tuple
        Acknowledged records that a node lacks; withdrawn lessons that stand on one; lessons not withdrawn that do not
        stand on one; and whether the same records and the same lessons are on all.
    """
    acknowledged = {parse_id(one) for one in journal.acknowledged}
    withdrawn = {parse_id(one) for one in journal.withdrawn}
    standing = {parse_id(one) for lessons in journal.lessons for one in lessons}
    missing: set[bytes] = set()
    undone: set[bytes] = set()
    lost: set[bytes] = set()
    states = set()
    for node in nodes:
        with closing(RecordStore(node.records_path)) as store:
            lessons = set(store.lessons(DOMAIN))
            missing |= {one for one in acknowledged if one not in store}
            states.add((store.digest(DOMAIN), frozenset(lessons)))
        undone |= withdrawn & lessons
        lost |= standing - lessons
    return len(missing), len(undone), len(lost), len(states) == 1
