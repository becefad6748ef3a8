"""Synchronisation over streams: both sides keep to their bounds, and what one exchange does not hold the next does."""

import hashlib
import os
from functools import partial

import pytest

pytest.importorskip("libp2p", reason="needs zenso[network]")

import trio
from trio.testing import memory_stream_pair

from fuzz.sync_peer import Line
from tests.network.conftest import Node
from zenso.network import Operation, Reconciler, sync
from zenso.network.channel import Channel
from zenso.network.dag_cbor import encode
from zenso.network.folder import NodeFolder
from zenso.network.loop import NodeLoop
from zenso.network.peers import PeerFault
from zenso.network.settings import NodeLimits, NodeSettings

EXCHANGE = 65_536
VOTES = 90


@pytest.fixture
def start(tmp_path, recomputer, clock, alice):
    """Make nodes without a network."""
    made = []

    def loop(name):
        node = Node(tmp_path / name, recomputer, clock)
        made.append(node)
        settings = NodeSettings(domains=["coding"], limits=NodeLimits(exchange_bytes=EXCHANGE))
        return node, NodeLoop(NodeFolder(tmp_path, alice, settings), node.store, node.admission, None, lambda: None)

    yield loop
    for node in made:
        node.store.close()


@pytest.fixture
def votes(tmp_path, recomputer, clock, alice, bob):
    maker = Node(tmp_path / "maker", recomputer, clock)
    target = hashlib.sha256(b"a lesson").digest()
    ids = [b"\x01\x71\x12\x20" + target]
    yield [
        maker.make(one, Operation.VOTE, targets=ids, vote=1, at=clock.now + n / 1000)
        for one in (alice, bob)
        for n in range(VOTES)
    ]
    maker.store.close()


def meet(asks, answers):
    """Run both sides of an exchange; return what the first gave, or its fault, and the fault of the second."""

    async def run():
        here, there = memory_stream_pair()
        outcomes = {}

        async def side(name, function, end):
            most = 16 * EXCHANGE if not isinstance(function, partial) else EXCHANGE  # hostile ones have no bounds
            channel = Channel(Line(end, "peer"), sync.FRAME_BYTES, most, 5)
            try:
                outcomes[name] = await function(channel)
            except PeerFault as fault:
                outcomes[name] = fault.reason
            await channel.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(side, "asks", asks, here)
            nursery.start_soon(side, "answers", answers, there)
        return outcomes["asks"], outcomes["answers"]

    return trio.run(run)


def asking(loop, seconds=60):
    return partial(sync.synchronise, holder=loop, domain="coding", seconds=seconds)


def answering(loop):
    return partial(sync.answer, holder=loop)


def test_what_one_exchange_does_not_hold_the_next_ones_do(start, votes):
    (here, mine), (there, theirs) = start("here"), start("there")
    for vote in votes[:VOTES]:
        assert here.offer(vote, synced=True).accepted
    for vote in votes[VOTES:]:
        assert there.offer(vote, synced=True).accepted
    sizes = []
    while here.store.digest("coding") != there.store.digest("coding"):
        done, fault = meet(asking(mine), answering(theirs))
        assert fault is None
        assert max(done.sent_bytes, done.received_bytes) <= EXCHANGE
        sizes.append(done.fetched + done.pushed)
    assert len(sizes) > 1
    assert min(sizes) > 0
    done, fault = meet(asking(mine), answering(theirs))
    assert (done.fetched, done.pushed, fault) == (0, 0, None)


def test_when_its_time_is_over_a_node_asks_for_no_more_and_blames_nobody(start, votes):
    (here, mine), (there, theirs) = start("here"), start("there")
    there.offer(votes[0], synced=True)
    done, fault = meet(asking(mine, seconds=0), answering(theirs))
    assert (done.fetched, fault) == (0, None)
    assert "coding" not in here.store.domains()


def test_a_full_node_takes_no_more_and_is_left_in_peace(start, votes):
    (here, mine), (there, theirs) = start("here"), start("there")
    for vote in votes:
        here.offer(vote, synced=True)
    there.store._most_bytes = 1
    done, fault = meet(asking(mine), answering(theirs))
    assert fault is None
    assert 0 < done.pushed < len(votes)
    assert not there.store.domains()
    assert there.admission.outcomes == {"full": done.pushed}
    assert not mine._book.refused
    # It does not ask for what it had no room for.
    done, fault = meet(asking(theirs), answering(mine))
    assert done.fetched < len(votes)


async def asks_again_and_again(channel):
    await channel.send(b"Dcoding")
    await channel.receive()
    while True:
        await channel.send(b"G" + b"".join(DIGESTS))
        while (await channel.receive())[:1] != b"E":
            pass


async def never_agrees(channel):
    await channel.send(b"Dcoding")
    await channel.receive()
    while True:
        await channel.send(b"R" + encode([[b"", os.urandom(16)]]))
        await channel.receive()


async def asks_for_nothing_there_is(channel):
    await channel.send(b"Dcoding")
    await channel.receive()
    await channel.send(b"Z")


DIGESTS: list[bytes] = []


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [(asks_again_and_again, "endless"), (never_agrees, "endless"), (asks_for_nothing_there_is, "sync")],
)
def test_who_asks_against_the_protocol_is_left(start, votes, hostile, reason):
    node, loop = start("node")
    for vote in votes:
        node.offer(vote, synced=True)
    DIGESTS[:] = [vote.id[-32:] for vote in votes]
    assert meet(hostile, answering(loop))[1] == reason


def answers(records):
    """A peer that names digests, and sends what it likes for them."""

    async def run(channel):
        await channel.receive()
        await channel.send(b"D")
        sides = Reconciler(hashlib.sha256(record).digest() for record in records)
        while True:
            question = await channel.receive()
            if question[:1] == b"R":
                await channel.send(b"R" + sides.answer(question[1:]))
            else:
                for record in records:
                    await channel.send(b"V" + record)
                await channel.send(b"E")

    return run


async def names_ever_more(channel):
    await channel.receive()
    await channel.send(b"D")
    while True:
        await channel.receive()
        ids = sorted(hashlib.sha256(b"%d" % n).digest() for n in range(100))
        await channel.send(b"R" + encode([[ids[-1], ids[:-1]], [b"", os.urandom(16)]]))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answers([bytes(40_000)]), "oversized"),
        (answers([bytes(1000)] * 2), "sync"),
        (names_ever_more, "endless"),
    ],
)
def test_who_answers_against_the_protocol_is_left(start, answer, reason):
    node, loop = start("node")
    assert meet(asking(loop), answer)[0] == reason
    assert not node.store.domains()
