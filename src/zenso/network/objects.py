"""Large objects by their hash: one that a peer holds comes as a stream of chunks, from where it broke off before.

One stream is about one object:

====  ===========================================  =================================================================
byte  asked                                        answered
====  ===========================================  =================================================================
O     SHA-256, and how many bytes are here (8      S and the size (8 bytes), then C and a chunk each until the end;
      bytes, big-endian)                           or N: it is not held; or B: too many are being answered
====  ===========================================  =================================================================

Each chunk but the last has ``CHUNK_BYTES`` and its time, so nobody is held up by a peer that sends next to nothing. Who
asks knows the size and the hash; bytes whose hash is wrong are thrown away, and their sender answers for it if they
were all of one.
"""

import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Protocol, Self

import trio
from libp2p.abc import INetStream

from zenso.errors import StorageError
from zenso.network.channel import Channel
from zenso.network.dag_cbor import DIGEST_BYTES
from zenso.network.peers import LEFT, PeerFault

PROTOCOL = "/zenso/object/1"
CHUNK_BYTES = 256 * 1024
FAULT = "object"  # the reason of a peer's fault

_NUMBER = 8  # bytes
QUESTION_BYTES = 1 + DIGEST_BYTES + _NUMBER
MOST_BYTES = 1 << 40  # of one answer
_FRAME_OVERHEAD = 8
_ATTEMPTS = 3  # of a peer that gives nothing
_REST_SECONDS = 1.0  # until the same peer is asked again
_CONNECTING_SECONDS = 5.0  # within which a peer that may be asked has to come
_PATIENCE_SECONDS = 60.0  # without one more byte
_CHUNK_SECONDS = 60.0  # within which a chunk has to be whole, however it trickles


class ObjectStore(Protocol):
    """What a node has to give."""

    def find(self, digest: bytes) -> Path | None:
        """Return the file with a SHA-256, if it is here and may be given to anybody."""


class Peers(Protocol):
    """What a fetch needs of whom it asks."""

    def connected(self) -> Sequence[str]:
        """Return the peers that may be asked now."""

    async def open(self, peer: str, protocol: str) -> INetStream:
        """Open a stream to a peer; raises PeerFault."""

    async def fault(self, peer: str, reason: str) -> None:
        """Count what a peer did wrong."""


class ObjectMissingError(Exception):
    """No peer gives an object; the message says how each of them was tried."""


class Part:
    """The bytes of an object that have come so far, in a file that outlives this process. A context manager.

    Parameters
    ----------
    path : Path
        What is there already is taken for the beginning of the object.
    digest : bytes
        SHA-256 of the whole object.
    size : int
        Of the whole object; the file never has more.

    Raises
    ------
    StorageError
        The disk refuses; also of the methods.
    """

    def __init__(self, path: Path, digest: bytes, size: int) -> None:
        self.path, self.digest, self.size = path, digest, size
        self.length = 0
        self.senders: set[str] = set()  # of these bytes; empty names what an earlier process left
        self._hash = hashlib.sha256()
        with _disk(path):
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            while self.length <= size and (read := self._file.read(1 << 20)):
                self._hash.update(read)
                self.length += len(read)
                self.senders.add("")
            if self.length > size:
                self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def is_whole(self) -> bool:
        """Whether as many bytes are here as the object has."""
        return self.length == self.size

    @property
    def is_right(self) -> bool:
        """Whether the bytes are those of the object."""
        return self._hash.digest() == self.digest

    def append(self, chunk: bytes, sender: str) -> None:
        """Add what came next."""
        with _disk(self.path):
            self._file.write(chunk)
            self._file.flush()  # so that an end of this process loses nothing
        self._hash.update(chunk)
        self.length += len(chunk)
        self.senders.add(sender)

    def clear(self) -> None:
        """Throw away what came."""
        with _disk(self.path):
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.sha256()
        self.length = 0
        self.senders.clear()

    def move(self, target: Path) -> Path:
        """Give the whole object its place, on the disk before it gets the name."""
        with _disk(target):
            os.fsync(self._file.fileno())
            return self.path.replace(target)


class Reply(Enum):
    """How a peer answered."""

    SENT = "sent it"
    NOT_HELD = "does not hold it"
    BUSY = "is busy"


async def ask(channel: Channel, part: Part, on_length: Callable[[int], None]) -> Reply:
    """Ask a peer for what is missing of an object; what comes is in the part, whatever happens.

    Raises
    ------
    PeerFault
        The peer broke the protocol, stalled, or left.
    StorageError
        The disk refuses.
    """
    await channel.send(b"O" + part.digest + part.length.to_bytes(_NUMBER, "big"))
    head = await channel.receive()
    if head in {b"N", b"B"}:
        return Reply.NOT_HELD if head == b"N" else Reply.BUSY
    if head != b"S" + part.size.to_bytes(_NUMBER, "big"):
        raise PeerFault(FAULT, f"it says {head[:9]!r} of an object of {part.size:,} bytes")
    while not part.is_whole:
        with trio.move_on_after(_CHUNK_SECONDS) as limit:
            message = await channel.receive()
        if limit.cancelled_caught:
            raise PeerFault(LEFT, f"a chunk was not whole after {_CHUNK_SECONDS:g} s")  # its network may be bad
        if message[:1] != b"C" or len(message) - 1 != min(CHUNK_BYTES, part.size - part.length):
            raise PeerFault(FAULT, f"{len(message):,} bytes that are not the next chunk")
        await trio.to_thread.run_sync(part.append, message[1:], channel.peer)
        on_length(part.length)
    return Reply.SENT


async def fetch_object(peers: Peers, part: Part, on_length: Callable[[int], None], step_seconds: float) -> None:
    """Fetch an object from peers, one after the other, until it is whole and right.

    A wrong object whose bytes are of several peers tells nothing about any of them, and is fetched again from one.

    Parameters
    ----------
    peers : Peers
    part : Part
    on_length : callable
        Told how many bytes are here.
    step_seconds : float
        Within which each chunk has to come.

    Raises
    ------
    ObjectMissingError
        None gives it, or no byte has come for a minute.
    StorageError
        The disk refuses.
    """
    attempts: Counter[str] = Counter()  # that brought nothing; at _ATTEMPTS a peer is asked no more
    resting: dict[str, float] = {}
    outcomes: dict[str, str] = {}
    from_one = False
    seen = moved = trio.current_time()  # when somebody could be asked, and when bytes came
    while True:
        if part.is_whole:
            if part.is_right:
                return
            if len(part.senders) == 1 and (sender := next(iter(part.senders))):
                attempts[sender], outcomes[sender] = _ATTEMPTS, "sent other bytes"
                await peers.fault(sender, FAULT)
            from_one = True
            await trio.to_thread.run_sync(part.clear)
        now = trio.current_time()
        left = [peer for peer in peers.connected() if attempts[peer] < _ATTEMPTS]
        seen = now if left else seen
        if now - seen > _CONNECTING_SECONDS or now - moved > _PATIENCE_SECONDS:
            told = ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes.values()).items())
            raise ObjectMissingError(f"of the peers that were asked {told}" if told else "no peer is connected")
        ready = [peer for peer in left if resting.get(peer, 0) <= now]
        if not ready:
            await trio.sleep(0.1)
            continue
        known = [peer for peer in ready if peer in part.senders]
        peer = random.choice(known or ready)  # noqa: S311 - so that not all ask the same one
        if from_one and part.senders != {peer}:
            await trio.to_thread.run_sync(part.clear)
        before = part.length
        try:
            outcomes[peer], given_up = await _attempt(peers, peer, part, on_length, step_seconds)
        finally:
            resting[peer] = trio.current_time() + _REST_SECONDS
        if part.length > before:
            moved = trio.current_time()
            attempts[peer] += from_one and not part.is_whole  # or one that leaves before the end could do so for ever
        elif outcomes[peer] != Reply.BUSY.value:
            attempts[peer] += 1
        if given_up:
            attempts[peer] = _ATTEMPTS


async def _attempt(
    peers: Peers, peer: str, part: Part, on_length: Callable[[int], None], step_seconds: float
) -> tuple[str, bool]:
    """Ask one peer; return what came of it, and whether it is not worth asking again."""
    try:
        frames = 2 + (part.size - part.length) // CHUNK_BYTES
        most = QUESTION_BYTES + part.size - part.length + frames * _FRAME_OVERHEAD + _NUMBER
        channel = Channel(await peers.open(peer, PROTOCOL), 1 + CHUNK_BYTES, most, step_seconds)
        try:
            reply = await ask(channel, part, on_length)
        except BaseException:
            await channel.reset()  # so that nothing more is sent
            raise
        await channel.close()
    except PeerFault as fault:
        await peers.fault(peer, fault.reason)
        return ("left" if fault.reason == LEFT else f"did wrong ({fault.reason})"), fault.reason != LEFT
    return reply.value, reply is Reply.NOT_HELD


class ObjectServer:
    """Gives peers the objects that they ask for, to a few at a time.

    Parameters
    ----------
    store : ObjectStore or None
        None gives nothing.
    at_once : int
        Peers that are answered at a time; one stream each.
    bytes_per_second : float
        To all of them together.
    seconds : float
        After which an answer ends where it is, so that others have their turn; who asks goes on from there.
    """

    def __init__(self, store: ObjectStore | None, at_once: int, bytes_per_second: float, seconds: float) -> None:
        self._store = store
        self._at_once = at_once
        self._per_second = bytes_per_second
        self._seconds = seconds
        self._answering: set[str] = set()
        self._free_at = 0.0
        self.counts: Counter[str] = Counter()

    async def answer(self, channel: Channel) -> None:
        """Answer the question of a stream.

        Raises
        ------
        PeerFault
            The peer broke the protocol, or does not read.
        """
        question = await channel.receive()
        if question[:1] != b"O" or len(question) != QUESTION_BYTES:
            raise PeerFault(FAULT, "no question for an object")
        if channel.peer in self._answering or len(self._answering) >= self._at_once:
            await channel.send(b"B")
        else:
            self._answering.add(channel.peer)
            try:
                with trio.move_on_after(self._seconds):
                    await self._send(
                        channel, question[1 : 1 + DIGEST_BYTES], int.from_bytes(question[-_NUMBER:], "big")
                    )
            finally:
                self._answering.discard(channel.peer)
        # What was sent is lost when the stream is reset before it was read.
        await channel.finish()

    async def _send(self, channel: Channel, digest: bytes, offset: int) -> None:
        path = await trio.to_thread.run_sync(self._store.find, digest) if self._store is not None else None
        try:
            file = path.open("rb") if path is not None else None
        except OSError:
            file = None
        if file is None:
            await channel.send(b"N")
            return
        with file:
            size = file.seek(0, os.SEEK_END)
            if offset > size:
                raise PeerFault(FAULT, f"more bytes of an object than its {size:,}")
            file.seek(offset)
            await channel.send(b"S" + size.to_bytes(_NUMBER, "big"))
            while chunk := await trio.to_thread.run_sync(file.read, CHUNK_BYTES):
                await self._turn(len(chunk))
                await channel.send(b"C" + chunk)
                self.counts["object_bytes_sent"] += len(chunk)
        self.counts["objects_sent"] += 1

    async def _turn(self, count: int) -> None:
        """Wait until that many bytes may be sent."""
        at = max(self._free_at, trio.current_time())
        self._free_at = at + count / self._per_second
        await trio.sleep_until(at)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror or error}); free some space there") from error
