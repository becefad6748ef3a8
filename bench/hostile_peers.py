"""Hostile peers of one operator, in a process of their own: ``python -m bench.hostile_peers FILE``.

FILE is JSON: ``targets``, the addresses of nodes; ``peers``, for each hostile peer the records it has, hexadecimal;
``per_second``, at which each sends them; and ``flood``, null or a number. It prints the ids of its peers once they are
connected with every node, attacks from when a line comes on the standard input until another does, and prints how many
messages it sent. Each peer sends its records to every node by gossip, and offers them all by synchronisation too,
whoever begins it. With ``flood`` it sends its first record in ever new nonces instead, up to as many a second in all.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V12
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_uvarint

from bench.hostile_records import DOMAIN
from zenso.network import decode_record, sync
from zenso.network.addresses import peer_of
from zenso.network.admission import Verdict
from zenso.network.channel import Channel
from zenso.network.peers import PeerFault
from zenso.network.reconciliation import SortedIds
from zenso.network.transport import Transport

_TOPIC = f"/zenso/1/{DOMAIN}"
_SYNC_SECONDS, _EXCHANGE_SECONDS = 1.5, 60.0
_FRAME = 30  # messages of a flood in one frame, of the 128 KiB that a node takes
_WAITING = 1000


class _Hoard:
    """What a hostile peer offers by synchronisation: its records; it wants none."""

    domains: Sequence[str] = (DOMAIN,)

    def __init__(self, records: Iterable[bytes]) -> None:
        self._records = {hashlib.sha256(record).digest(): record for record in records}

    async def ids(self, domain: str) -> SortedIds:
        """Return all of them."""
        del domain
        return SortedIds(self._records)

    async def raw(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return those asked for."""
        return [self._records[one] for one in digests if one in self._records]

    async def wanted(self, digests: Iterable[bytes]) -> list[bytes]:
        """Want nothing."""
        del digests
        return []

    async def offer(self, records: Sequence[bytes], peer: str) -> list[Verdict]:
        """Take nothing."""
        del records, peer
        return []


class _HostilePeer:
    """One peer, connected with every node until it is cut off."""

    def __init__(self, records: Sequence[bytes], per_second: float) -> None:
        self._records, self._per_second = records, per_second
        self._hoard = _Hoard(records)
        self.sent = 0  # messages of gossip
        self.transport = Transport(
            os.urandom(32),
            ["/ip4/127.0.0.1/tcp/0"],
            topics=[_TOPIC],
            message_bytes=65_536,
            waiting=_WAITING,
            gate=lambda _: False,
            welcome=lambda _: True,
            on_fault=_ignore,
        )

    async def meet(self, targets: Sequence[str]) -> None:
        """Connect with all nodes."""
        self.transport.handle(sync.PROTOCOL, self._answer)
        await self.transport.subscribe(_TOPIC, _refuse)
        for target in targets:
            while not await self.transport.connect(target):
                await trio.sleep(0.2)

    async def send(self, node: str) -> None:
        """Send the records to one node by gossip, at the rate."""
        began = trio.current_time()
        stream: INetStream | None = None
        for number, record in enumerate(self._records):
            await trio.sleep_until(began + number / self._per_second)
            stream = await self._write(node, stream, [record])

    async def offer(self, node: str) -> None:
        """Synchronise with one node again and again."""
        while True:
            await trio.sleep(_SYNC_SECONDS)
            with suppress(PeerFault, BaseLibp2pError, OSError):
                channel = _channel(await self.transport.open(node, sync.PROTOCOL))
                try:
                    await sync.synchronise(channel, self._hoard, DOMAIN, _EXCHANGE_SECONDS)
                finally:
                    await channel.close()

    async def flood(self, node: str, per_second: float) -> None:
        """Send more than anybody takes."""
        began = trio.current_time()
        stream: INetStream | None = None
        number = 0
        # Each is new to whoever sees it, and neither worked for nor signed.
        nonce = decode_record(self._records[0]).nonce.to_bytes(8, "big")
        before, _, after = self._records[0].partition(nonce)
        while node in self.transport.peers:
            frame = [before + nonce[:1] + os.urandom(7) + after for _ in range(_FRAME)]
            stream = await self._write(node, stream, frame)
            number += _FRAME
            await trio.sleep_until(began + number / per_second)

    async def _write(self, node: str, stream: INetStream | None, records: Sequence[bytes]) -> INetStream | None:
        messages = [rpc_pb2.Message(data=record, topicIDs=[_TOPIC], from_id=os.urandom(32)) for record in records]
        frame = rpc_pb2.RPC(publish=messages).SerializeToString()
        try:
            stream = stream or await self.transport.open(node, PROTOCOL_ID_V12)
            with trio.move_on_after(5):
                await stream.write(encode_uvarint(len(frame)) + frame)
                self.sent += len(records)
        except (PeerFault, BaseLibp2pError, OSError):
            return None  # it was shown the door, or is about to be
        return stream

    async def _answer(self, stream: INetStream) -> None:
        with suppress(PeerFault, BaseLibp2pError, OSError):
            await sync.answer(_channel(stream), self._hoard)


def _channel(stream: INetStream) -> Channel:
    return Channel(stream, sync.FRAME_BYTES, 2**30, 10)


async def _ignore(*_: str) -> None:
    return


async def _refuse(*_: str | bytes) -> bool:
    return False


async def _main(plan: dict[str, Any]) -> None:
    targets: list[str] = plan["targets"]
    async with AsyncExitStack() as stack:
        peers = []
        for records in plan["peers"]:
            peer = _HostilePeer([bytes.fromhex(record) for record in records], plan["per_second"])
            await stack.enter_async_context(peer.transport.running())
            await peer.meet(targets)
            peers.append(peer)
        print(json.dumps([peer.transport.id for peer in peers]), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        async with trio.open_nursery() as nursery:
            for peer in peers:
                for node in map(peer_of, targets):
                    if plan["flood"]:
                        nursery.start_soon(peer.flood, node, plan["flood"] / len(peers) / len(targets))
                    else:
                        nursery.start_soon(peer.send, node)
                        nursery.start_soon(peer.offer, node)
            await trio.to_thread.run_sync(sys.stdin.readline)
            nursery.cancel_scope.cancel()
        print(sum(peer.sent for peer in peers), flush=True)


if __name__ == "__main__":
    trio.run(_main, json.loads(Path(sys.argv[1]).read_text("utf-8")))
