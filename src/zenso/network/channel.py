"""Messages over a stream of libp2p, bounded in size, number and time whatever the other side sends."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import IncompleteReadError
from libp2p.network.health.ping_probe import ping_connection

from zenso.network.peers import LEFT, PeerFault

T = TypeVar("T")
_LENGTH = 4  # bytes, big-endian, before each message
_PIECE = 65_500  # bytes: with the header of yamux one message of Noise, which has at most 65,519
_CHUNK = 1 << 18  # bytes asked of the stream at once
_PING_SECONDS = 10.0  # at least, as a ping may cost several retransmissions


class Channel:
    """One exchange with one peer; a peer that stalls or says too much ends it.

    Parameters
    ----------
    stream : INetStream
    frame_bytes : int
        Most bytes of one message.
    total_bytes : int
        Most bytes that are taken from the peer in all, and most that are given to it.
    step_seconds : float
        In which part of a message must come or go, as long as the peer can be reached at all.
    """

    def __init__(self, stream: INetStream, frame_bytes: int, total_bytes: int, step_seconds: float) -> None:
        self._stream: Any = stream
        self._frame_bytes = frame_bytes
        self._total_bytes = total_bytes
        self._step_seconds = step_seconds
        self.peer = str(self._stream.muxed_conn.peer_id)
        self.sent_bytes = 0
        self.received_bytes = 0
        self._moved = 0  # bytes, of messages that are not whole too

    @property
    def room(self) -> int:
        """Bytes that may still come, and as many go."""
        return self._total_bytes - max(self.sent_bytes, self.received_bytes)

    async def send(self, message: bytes) -> None:
        """Send one message.

        Raises
        ------
        PeerFault
            The peer does not read, has left, or asked for more than one exchange may hold.
        """
        framed = len(message).to_bytes(_LENGTH, "big") + message
        if len(framed) > self._total_bytes - self.sent_bytes:
            raise PeerFault("endless", "it asks for more than one exchange may hold")

        async def write() -> None:
            try:
                for place in range(0, len(framed), _PIECE):
                    part = framed[place : place + _PIECE]
                    await self._stream.write(part)
                    self._moved += len(part)
            except (BaseLibp2pError, OSError) as error:
                raise PeerFault(LEFT, f"it left while it was written to ({error})") from error

        await self._watched(write)
        self.sent_bytes += len(framed)

    async def receive(self) -> bytes:
        """Return the next message.

        Raises
        ------
        PeerFault
            It is too long, does not come in time, or more came than one exchange may hold.
        """
        message = await self._watched(self._read)
        self.received_bytes += len(message) + _LENGTH
        return message

    async def _watched(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take one step; end it where nothing moves, and find out whose fault that is.

        A peer that answers a ping, sent when it had had its time, and nothing else, stalls: what it had sent before
        would have come before. One that answers nothing is away, or its packets are lost.
        """
        faults: list[PeerFault] = []

        async def watch() -> None:
            moved = -1
            while moved != self._moved:
                moved = self._moved
                await trio.sleep(self._step_seconds)
            ping = await ping_connection(self._stream.swarm_conn, ping_timeout=max(self._step_seconds, _PING_SECONDS))
            if not ping.success:
                faults.append(PeerFault(LEFT, "its connection is dead"))
            elif moved == self._moved:
                faults.append(PeerFault("stalled", f"nothing moved for {self._step_seconds:g} s"))
            else:
                nursery.start_soon(watch)
                return
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                result = await step()
            except PeerFault as fault:
                faults.append(fault)  # raised below, where it is within no group
            nursery.cancel_scope.cancel()
        if faults:
            raise faults[0]
        return result

    async def _read(self) -> bytes:
        try:
            length = int.from_bytes(await self._exactly(_LENGTH), "big")
            if length > self._frame_bytes:
                raise PeerFault("oversized", f"a message of {length:,} bytes; at most {self._frame_bytes:,} are taken")
            if length + _LENGTH > self._total_bytes - self.received_bytes:
                raise PeerFault("endless", "its answers exceed what one exchange may hold")
            return await self._exactly(length)
        except (BaseLibp2pError, IncompleteReadError, OSError) as error:
            raise PeerFault(LEFT, f"it left within a message ({error})") from error

    async def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = await self._stream.read(min(count - len(parts), _CHUNK))
            if not part:
                raise PeerFault(LEFT, "it left within a message")
            parts += part
            self._moved += len(part)
        return bytes(parts)

    async def close(self) -> None:
        """Say that nothing more comes."""
        with trio.move_on_after(1, shield=True):
            try:
                await self._stream.close()
            except (BaseLibp2pError, OSError):
                return

    async def finish(self) -> None:
        """Say that nothing more comes, and wait until the peer says it too, or has had its time."""
        await self.close()
        try:
            await self.receive()
        except PeerFault:
            return

    async def reset(self) -> None:
        """End the exchange as it is."""
        with trio.move_on_after(1, shield=True):
            try:
                await self._stream.reset()
            except (BaseLibp2pError, OSError):
                return
