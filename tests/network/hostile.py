"""A peer that does what the protocol does not allow: python -m tests.network.hostile ADDRESS."""

import os
import sys
import warnings
from contextlib import suppress

import trio

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from libp2p.exceptions import BaseLibp2pError
    from libp2p.pubsub.gossipsub import PROTOCOL_ID_V12
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.utils.varint import encode_uvarint

from zenso.network import sync
from zenso.network.addresses import address, peer_of
from zenso.network.channel import Channel
from zenso.network.dag_cbor import encode
from zenso.network.folder import peer_id
from zenso.network.identity import Identity
from zenso.network.peers import PeerFault
from zenso.network.transport import Transport

TOPIC = "/zenso/1/general"


async def garbage_gossip(peer, node):
    """Bytes that are no message."""
    for _ in range(2):
        stream = await peer.open(node, PROTOCOL_ID_V12)
        await stream.write(b"\x05\xff\xff\xff\xff\xff")
        await trio.sleep(0.2)


async def oversized_gossip(peer, node):
    """A message that says it is larger than memory."""
    stream = await peer.open(node, PROTOCOL_ID_V12)
    await stream.write(b"\xff\xff\xff\xff\x7f" + bytes(1000))
    await trio.sleep(0.2)


async def garbage_records(peer, node):
    """Messages that are no records, until it is cut off."""
    await trio.sleep(1.5)  # until the mesh is made
    for _ in range(200):
        await peer.publish(TOPIC, os.urandom(200))
        await trio.sleep(0.02)
        if node not in peer.peers:
            return


async def flood(peer, node):
    """More messages at once than anybody takes."""
    message = rpc_pb2.Message(data=b"spam", topicIDs=[TOPIC], from_id=os.urandom(32))
    frame = rpc_pb2.RPC(publish=[message] * 1500).SerializeToString()
    stream = await peer.open(node, PROTOCOL_ID_V12)
    await stream.write(encode_uvarint(len(frame)) + frame)
    await trio.sleep(0.2)


async def garbage_sync(peer, node):
    """A synchronisation that is none."""
    for message in (b"", b"X", b"D\xff", b"D" + b"a" * 1000, b"G" + bytes(32)):
        stream = await peer.open(node, sync.PROTOCOL)
        await stream.write(len(message).to_bytes(4, "big") + message)
        await trio.sleep(0.1)


async def oversized_sync(peer, node):
    """A message of four gigabytes."""
    stream = await peer.open(node, sync.PROTOCOL)
    await stream.write(b"\xff\xff\xff\xff" + bytes(1000))
    await trio.sleep(0.2)


async def half_message(peer, node):
    """Half a message, and nothing more."""
    stream = await peer.open(node, sync.PROTOCOL)
    await stream.write(b"\x00\x00\x00\x20D")
    await trio.sleep(2)


async def endless_answers(peer, node):
    """Ids of records that there are not, again and again, to whatever is asked."""
    peer.handle(sync.PROTOCOL, _answer_endlessly)
    await trio.sleep(10)  # until the node has asked; then as somebody else, should it not have


async def _answer_endlessly(stream):
    channel = Channel(stream, sync.FRAME_BYTES, 2**30, 10)
    await channel.receive()
    await channel.send(b"D")
    while True:
        question = await channel.receive()
        if question[:1] == b"R":
            ids = sorted(os.urandom(32) for _ in range(1000))
            # Never settled: a list, and a fingerprint of the rest that is another each time.
            await channel.send(b"R" + encode([[ids[-1][:31] + b"\xff", ids[:-1]], [b"", os.urandom(16)]]))
        else:
            await channel.send(b"V" + os.urandom(1000))


async def raw_connections(target):
    """Connections that speak no Noise, or nothing."""
    port = int(address(target).value_for_protocol("tcp"))
    silent = await trio.open_tcp_stream("127.0.0.1", port)
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x13/multistream/1.0.0\n\x07/noise\n" + os.urandom(500),
        b"\xff" * 100_000,
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.move_on_after(1), suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await stream.receive_some(100)
        await stream.aclose()
    await silent.aclose()


ATTACKS = (
    garbage_gossip,
    oversized_gossip,
    garbage_records,
    flood,
    garbage_sync,
    oversized_sync,
    half_message,
    endless_answers,
)


async def ignore(*_):
    return False


def transport(seed):
    """A peer that takes everything from everybody."""
    return Transport(
        seed,
        ["/ip4/127.0.0.1/tcp/0"],
        topics=[TOPIC],
        waiting=100,
        message_bytes=65_536,
        gate=lambda _: True,
        welcome=lambda _: True,
        on_fault=ignore,
    )


async def run(attack, target):
    """Attack as a peer of its own, and then stay, as far as the node lets it."""
    seed = os.urandom(32)
    while peer_id(Identity(seed).public_key) < peer_of(target):  # so that the node begins to synchronise
        seed = os.urandom(32)
    peer = transport(seed)
    async with peer.running():
        await peer.subscribe(TOPIC, ignore)
        await peer.connect(target)
        with suppress(PeerFault, BaseLibp2pError):  # it was shown the door
            await attack(peer, peer_of(target))
        await trio.sleep(3)


async def main(target):
    """All at once, again and again, each time as somebody else."""

    async def repeat(attack):
        while True:
            await run(attack, target)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(raw_connections, target)
        for attack in ATTACKS:
            nursery.start_soon(repeat, attack)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
