"""Messages over a stream of libp2p, bounded in size, number and time whatever the other side sends."""

from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import IncompleteReadError

from zenso.network.peers import LEFT, PeerFault

_LENGTH = 4  # bytes, big-endian, before each message
_CHUNK = 65_536  # bytes asked of the stream at once


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
        Within which a whole message must come or go.
    """

    def __init__(self, stream: INetStream, frame_bytes: int, total_bytes: int, step_seconds: float) -> None:
        self._stream: Any = stream
        self._frame_bytes = frame_bytes
        self._total_bytes = total_bytes
        self._step_seconds = step_seconds
        self.peer = str(self._stream.muxed_conn.peer_id)
        self.sent_bytes = 0
        self.received_bytes = 0

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
        with trio.move_on_after(self._step_seconds) as step:
            try:
                await self._stream.write(framed)
            except (BaseLibp2pError, OSError) as error:
                raise PeerFault(LEFT, f"it left while it was written to ({error})") from error
        if step.cancelled_caught:
            raise PeerFault("stalled", f"it read nothing for {self._step_seconds:g} s")
        self.sent_bytes += len(framed)

    async def receive(self) -> bytes:
        """Return the next message.

        Raises
        ------
        PeerFault
            It is too long, does not come in time, or more came than one exchange may hold.
        """
        with trio.move_on_after(self._step_seconds) as step:
            try:
                length = int.from_bytes(await self._exactly(_LENGTH), "big")
                if length > self._frame_bytes:
                    raise PeerFault(
                        "oversized", f"a message of {length:,} bytes; at most {self._frame_bytes:,} are taken"
                    )
                if length + _LENGTH > self._total_bytes - self.received_bytes:
                    raise PeerFault("endless", "its answers exceed what one exchange may hold")
                message = await self._exactly(length)
            except (BaseLibp2pError, IncompleteReadError, OSError) as error:
                raise PeerFault(LEFT, f"it left within a message ({error})") from error
        if step.cancelled_caught:
            raise PeerFault("stalled", f"a message was not whole after {self._step_seconds:g} s")
        self.received_bytes += length + _LENGTH
        return message

    async def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = await self._stream.read(min(count - len(parts), _CHUNK))
            if not part:
                raise PeerFault(LEFT, "it left within a message")
            parts += part
        return bytes(parts)

    async def close(self) -> None:
        """Say that nothing more comes."""
        with trio.move_on_after(1, shield=True):
            try:
                await self._stream.close()
            except (BaseLibp2pError, OSError):
                return

    async def reset(self) -> None:
        """End the exchange as it is."""
        with trio.move_on_after(1, shield=True):
            try:
                await self._stream.reset()
            except (BaseLibp2pError, OSError):
                return
