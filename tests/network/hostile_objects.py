"""Peers that answer questions for objects as they should not: python -m tests.network.hostile_objects ADDRESS."""

import os
import sys
from contextlib import suppress

import trio

from tests.network.hostile import transport
from zenso.network.channel import Channel
from zenso.network.objects import CHUNK_BYTES, MOST_BYTES, PROTOCOL, QUESTION_BYTES
from zenso.network.peers import PeerFault

SIZE = int(sys.argv[2])  # of the object that will be asked for


async def wrong_bytes(channel, offset):
    """As many bytes as there should be, and others."""
    await head(channel)
    while offset < SIZE:
        count = min(CHUNK_BYTES, SIZE - offset)
        await channel.send(b"C" + os.urandom(count))
        offset += count


async def wrong_size(channel, offset):
    """Another object."""
    await channel.send(b"S" + (SIZE + 1).to_bytes(8, "big"))


async def half_a_chunk(channel, offset):
    """Half a chunk, and nothing more."""
    await head(channel)
    await channel._stream.write((CHUNK_BYTES + 1).to_bytes(4, "big") + b"C" + bytes(CHUNK_BYTES // 2))
    await trio.sleep(5)


async def crumbs(channel, offset):
    """A byte at a time, without end."""
    await head(channel)
    while True:
        await channel.send(b"Cx")


async def one_huge_chunk(channel, offset):
    """Four gigabytes at once."""
    await head(channel)
    await channel._stream.write(b"\xff" * 1000)


ANSWERS = (wrong_bytes, wrong_size, half_a_chunk, crumbs, one_huge_chunk)


async def head(channel):
    await channel.send(b"S" + SIZE.to_bytes(8, "big"))


async def run(answer, target):
    """Be asked, as a peer of its own."""

    async def handle(stream):
        channel = Channel(stream, QUESTION_BYTES, MOST_BYTES, 10)
        with suppress(PeerFault):
            question = await channel.receive()
            await answer(channel, int.from_bytes(question[-8:], "big"))
        await channel.finish()

    peer = transport(os.urandom(32))
    async with peer.running():
        peer.handle(PROTOCOL, handle)
        while True:
            await peer.connect(target)
            await trio.sleep(1)


async def main(target):
    async with trio.open_nursery() as nursery:
        for answer in ANSWERS:
            nursery.start_soon(run, answer, target)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
