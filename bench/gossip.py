"""Peers that only send: records of many keys reach a network through them, as no key may send more than 100 an hour."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from zenso.errors import InputError
from zenso.network import Identity
from zenso.network.records import MAX_RECORD_BYTES
from zenso.network.transport import Transport

_MESH_SECONDS = 2.0  # until gossip has made its meshes


class Sender:
    """A peer of libp2p that is connected with one node and sends to it, and to whom else it gets to know."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport = transport
        self._topic = topic

    async def send(self, records: Sequence[bytes], per_second: float) -> None:
        """Send records, so many a second."""
        began = trio.current_time()
        for number, record in enumerate(records, 1):
            await self._transport.publish(self._topic, record)
            await trio.sleep_until(began + number / per_second)


@asynccontextmanager
async def senders(addresses: Sequence[str], domain: str) -> AsyncIterator[list[Sender]]:
    """Connect one sender with each of the nodes at some addresses.

    Raises
    ------
    InputError
        A node cannot be reached.
    """

    async def refuse(*_: str | bytes) -> bool:
        return False

    async def ignore(*_: str) -> None:
        return

    topic = f"/zenso/1/{domain}"
    async with AsyncExitStack() as stack:
        found = []
        for address in addresses:
            peer = Transport(
                Identity.generate().seed,
                ["/ip4/127.0.0.1/tcp/0"],
                topics=[topic],
                message_bytes=MAX_RECORD_BYTES,
                waiting=1000,
                gate=lambda _: True,
                welcome=lambda _: True,
                on_fault=ignore,
            )
            await stack.enter_async_context(peer.running())
            await peer.subscribe(topic, refuse)
            if not await peer.connect(address):
                raise InputError(f"the node at {address} cannot be reached")
            found.append(Sender(peer, topic))
        await trio.sleep(_MESH_SECONDS)
        yield found
