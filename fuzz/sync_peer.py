"""A peer in a synchronisation that is honest, bent in places, or anything: it says what a fuzzer's bytes tell it to."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import trio
from blake3 import blake3

from fuzz.sync_records import BY_DIGEST, DIGESTS, DOMAIN, POOLS
from zenso.network import sync
from zenso.network.dag_cbor import encode
from zenso.network.reconciliation import Reconciler, SyncError

_Way: TypeAlias = Callable[[], bytes | None]  # None: it stalls; nothing: it leaves
_KINDS = [bytes([kind]) for kind in b"DRGPAVEN\x00"]


class Echo:
    """A connection that a peer answers pings on: it says what it hears, in the negotiation before a ping too."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self.muxed_conn = self

    async def new_stream(self) -> "Echo":
        """Open a stream for a ping."""
        return Echo()

    async def write(self, data: bytes) -> None:
        """Hear some bytes."""
        self._heard += data

    async def read(self, count: int | None = None) -> bytes:
        """Say them."""
        await trio.lowlevel.checkpoint()
        said = bytes(self._heard[:count])
        del self._heard[:count]
        return said

    async def close(self) -> None:
        """Nothing more comes."""

    async def reset(self) -> None:
        """Nothing more comes."""


class Peer:
    """The other end of a node's stream, as libp2p's streams are used.

    Parameters
    ----------
    source : atheris.FuzzedDataProvider
    asks : bool
        It began the synchronisation; else it answers.
    most_bytes : int
        That the node may send it.
    """

    def __init__(self, source: Any, *, asks: bool, most_bytes: int) -> None:
        self.muxed_conn = self
        self.swarm_conn = Echo()
        self.peer_id = "hostile"
        self.source, self.asks, self.most_bytes = source, asks, most_bytes
        self.sides = Reconciler([*BY_DIGEST, *DIGESTS[:20]])
        self.coming, self.hearing, self.said = bytearray(), bytearray(), b""
        self.heard: deque[bytes] = deque()
        self.sent = 0
        self.ending: _Way = source.PickValueInList([self.leave, self.stall, self.repeat, self.honest, self.noise])

    # --- as the node sees it --------------------------------------------------------------------------------------

    async def read(self, count: int) -> bytes:
        """Return some bytes; where there are none, something new is said."""
        await trio.lowlevel.checkpoint()
        while not self.coming:
            said = self.speak()
            if said is None:
                await trio.sleep_forever()
            if not said:
                return b""
            self.coming += said
        part = bytes(self.coming[:count])
        del self.coming[:count]
        return part

    async def write(self, part: bytes) -> None:
        """Hear part of a message, or all of it, within its bounds."""
        await trio.lowlevel.checkpoint()
        self.sent += len(part)
        assert self.sent <= self.most_bytes
        self.hearing += part
        length = int.from_bytes(self.hearing[:4], "big")
        assert length <= sync.FRAME_BYTES
        assert len(self.hearing) <= 4 + length
        if len(self.hearing) == 4 + length:
            self.heard.append(bytes(self.hearing[4:]))
            self.hearing.clear()

    async def close(self) -> None:
        """Nothing more comes."""

    async def reset(self) -> None:
        """Nothing more comes."""

    # --- what it says ---------------------------------------------------------------------------------------------

    def speak(self) -> bytes | None:
        """Return the next bytes; none: it leaves; None: it stalls."""
        ways: list[_Way] = [*[self.honest] * 6, *[self.bent] * 3, *[self.made] * 4]
        ways += [self.noise, self.half, self.repeat, self.stall, self.leave]
        way: _Way = self.source.PickValueInList(ways) if self.source.remaining_bytes() else self.ending
        said = way()
        self.said = said or self.said
        return said

    def leave(self) -> bytes:
        """Close the stream."""
        return b""

    def stall(self) -> None:
        """Say nothing any more."""

    def repeat(self) -> bytes:
        """Say the last again, or the shortest message."""
        return self.said or bytes(4)

    def noise(self) -> bytes:
        """Say bytes without a frame."""
        return bytes(self.source.ConsumeBytes(self.source.ConsumeIntInRange(0, 300))) or b"\xff" * 8

    def half(self) -> bytes:
        """Say the beginning of a frame."""
        frame = framed(self.body())
        return frame[: self.source.ConsumeIntInRange(1, len(frame))]

    def bent(self) -> bytes:
        """Say what is honest with bytes changed in it."""
        data = bytearray(self.honest())
        for _ in range(self.source.ConsumeIntInRange(1, 3)):
            if data:
                data[self.source.ConsumeIntInRange(0, len(data) - 1)] = self.source.ConsumeIntInRange(0, 255)
        return bytes(data)

    def made(self) -> bytes:
        """Say a message of any kind."""
        return framed(bytes(self.source.PickValueInList(_KINDS)) + self.body())

    def record(self) -> bytes:
        """Return a record."""
        return bytes(self.source.PickValueInList(self.source.PickValueInList(POOLS)))

    def body(self) -> bytes:
        """Return what may follow the kind of a message."""
        pick, source = self.source.PickValueInList, self.source
        ways: list[Callable[[], bytes]] = [
            self.record,
            lambda: b"".join(pick(DIGESTS) for _ in range(source.ConsumeIntInRange(0, 300))),
            self.ranges,
            lambda: pick([b"", DOMAIN.encode(), b"other", b"\xff", b"a" * 64, b"accepted", bytes(40_000)]),
            lambda: source.ConsumeBytes(source.ConsumeIntInRange(0, 100)),
        ]
        return bytes(pick(ways)())

    def ranges(self) -> bytes:
        """Return a message of reconciliation that mostly holds together."""
        pick, source = self.source.PickValueInList, self.source
        uppers = sorted({pick(DIGESTS) for _ in range(source.ConsumeIntInRange(0, 6))})
        made: list[Any] = []
        for upper in [*uppers, b""]:
            listed = sorted({pick(DIGESTS) for _ in range(source.ConsumeIntInRange(0, 8))})
            within = [one for one in listed if (not made or one >= made[-1][0]) and (not upper or one < upper)]
            invented = sorted({blake3(bytes([source.ConsumeIntInRange(0, 255)])).digest() for _ in range(3)})
            made.append([upper, pick([None, bytes(16), source.ConsumeBytes(16), within, listed, invented])])
        return encode(made)

    def honest(self) -> bytes:
        """Say what an honest peer would: its next question, or the answer to the node's."""
        heard = self.heard.popleft() if self.heard else b""
        with suppress(SyncError):
            return self.ask(heard) if self.asks else self.reply(heard[:1], heard[1:])
        return b""

    def reply(self, kind: bytes, body: bytes) -> bytes:
        """Answer a question."""
        if kind == b"D":
            return framed(b"D")
        if kind == b"R":
            return framed(b"R" + self.sides.answer(body))
        if kind == b"G":
            digests = [body[start : start + 32] for start in range(0, len(body), 32)]
            return b"".join(framed(b"V" + BY_DIGEST[one]) for one in digests if one in BY_DIGEST) + framed(b"E")
        return framed(b"Aaccepted") if kind == b"P" else b""

    def ask(self, heard: bytes) -> bytes:
        """Ask the next question."""
        if not self.said:
            return framed(b"D" + DOMAIN.encode())
        if heard[:1] in (b"D", b"R"):
            message = self.sides.begin() if heard[:1] == b"D" else self.sides.advance(heard[1:])
            if message is not None:
                return framed(b"R" + message)
        self.heard.clear()
        if self.source.ConsumeBool():
            return framed(b"G" + b"".join(sorted(self.sides.missing)[:256]))
        return framed(b"P" + self.record())


def framed(message: bytes) -> bytes:
    """Return a message as it goes over a stream."""
    return len(message).to_bytes(4, "big") + message


class Line:
    """One end of a stream between two honest nodes."""

    def __init__(self, end: Any, peer: str) -> None:
        self.muxed_conn, self.swarm_conn = self, Echo()
        self.peer_id, self._end = peer, end

    async def read(self, count: int) -> bytes:
        """Return some bytes."""
        return bytes(await self._end.receive_some(count))

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            await self._end.send_all(data)
        except trio.BrokenResourceError as error:
            raise OSError("the other end is closed") from error

    async def close(self) -> None:
        """Nothing more comes."""
        await self._end.aclose()

    reset = close


class Opened:
    """What a node asks for streams; there is one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def open(self, *_: str) -> Any:
        """Return it."""
        return self._stream
