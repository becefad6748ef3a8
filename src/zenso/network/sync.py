"""Synchronisation: what one of two nodes lacks, the other sends; both sides are held to bounds.

One exchange is about one domain. Messages on the stream begin with a byte that says what they are; the side that began
asks, the other answers:

====  ==========================================  ==================================================================
byte  asked                                       answered
====  ==========================================  ==================================================================
D     a domain, once, first                       D, or N with the reason why not
R     a message of reconciliation                 R and the reply
G     up to 256 digests, one after the other      V and a record for each that is held, then E
P     a record                                    A and the code of the verdict
====  ==========================================  ==================================================================
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from zenso.network.admission import Verdict
from zenso.network.channel import Channel
from zenso.network.dag_cbor import DIGEST_BYTES
from zenso.network.peers import LEFT, PeerFault
from zenso.network.reasons import Reason
from zenso.network.reconciliation import MAX_MESSAGE_BYTES, Reconciler, SortedIds, SyncError
from zenso.network.records import MAX_RECORD_BYTES

PROTOCOL = "/zenso/sync/1"
FRAME_BYTES = MAX_MESSAGE_BYTES + 1
_BATCH = 256  # digests in one question
_ACCEPTED_AT_ONCE = 64
_PUSHED_AT_ONCE = 32  # records that are sent before the first verdict is awaited
_RECORD_FRAME = MAX_RECORD_BYTES + 5  # length, kind, and the longest record
_DOMAIN = re.compile(rb"[a-z0-9][a-z0-9-]{0,62}")


class Holder(Protocol):
    """What synchronisation needs of a node."""

    @property
    def domains(self) -> Sequence[str]:
        """Those that are followed."""

    async def ids(self, domain: str) -> SortedIds:
        """Return the digests of a domain's records, as they are now."""

    async def raw(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return the records of digests, as far as they are held."""

    async def wanted(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return those of digests that are missing which are worth fetching."""

    async def offer(self, records: Sequence[bytes], peer: str) -> list[Verdict]:
        """Take records of a synchronisation, as far as they pass."""


@dataclass
class Exchange:
    """What one synchronisation did."""

    fetched: int = 0
    accepted: int = 0
    pushed: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


async def synchronise(channel: Channel, holder: Holder, domain: str, seconds: float) -> Exchange:
    """Bring both sides of a stream to the same records of a domain, or as near as one exchange may.

    Parameters
    ----------
    channel : Channel
    holder : Holder
    domain : str
    seconds : float
        After which no more records are asked for, or sent: the next exchange goes on, and nobody is to blame.

    Raises
    ------
    PeerFault
        The peer broke the protocol, or refused.
    """
    done, end = Exchange(), trio.current_time() + seconds

    def portion(most: int) -> int:
        """Return how many records there are room and time for."""
        return min(most, channel.room // _RECORD_FRAME) if trio.current_time() < end else 0

    await channel.send(b"D" + domain.encode())
    await _expect(channel, b"D")
    sides = Reconciler(await holder.ids(domain))
    message: bytes | None = sides.begin()
    while message is not None:
        await channel.send(b"R" + message)
        reply = await _expect(channel, b"R")
        try:
            message = await trio.to_thread.run_sync(sides.advance, reply)
        except SyncError as error:
            raise PeerFault("sync", str(error)) from error
    missing = await holder.wanted(sides.missing)
    while missing and (count := portion(_BATCH)):
        await _fetch(channel, holder, missing[:count], done)
        del missing[:count]
    surplus = sorted(sides.surplus)
    while surplus and (count := portion(_PUSHED_AT_ONCE)):
        records = await holder.raw(surplus[:count])
        del surplus[:count]
        for record in records:
            await channel.send(b"P" + record)
        told = [await _expect(channel, b"A") for _ in records]
        done.pushed += len(records)
        if Reason.FULL.encode() in told:
            break
    done.sent_bytes, done.received_bytes = channel.sent_bytes, channel.received_bytes
    return done


async def _fetch(channel: Channel, holder: Holder, digests: Sequence[bytes], done: Exchange) -> None:
    """Ask for records and offer them, a few at a time."""
    await channel.send(b"G" + b"".join(digests))
    asked = set(digests)
    records: list[bytes] = []

    async def offer() -> None:
        verdicts = await holder.offer(tuple(records), channel.peer)
        done.accepted += sum(verdict.accepted for verdict in verdicts)
        records.clear()

    while True:
        answer = await channel.receive()
        if answer[:1] == b"E":
            break
        if answer[:1] != b"V":
            raise PeerFault("sync", "an answer that is no record")
        if len(answer) > MAX_RECORD_BYTES + 1:
            raise PeerFault("oversized", f"a record of {len(answer) - 1:,} bytes; at most {MAX_RECORD_BYTES:,}")
        digest = hashlib.sha256(answer[1:]).digest()
        if digest not in asked:
            raise PeerFault("sync", "a record that was not asked for")
        asked.discard(digest)
        records.append(answer[1:])
        done.fetched += 1
        if len(records) >= _ACCEPTED_AT_ONCE:
            await offer()
    if records:
        await offer()
    # A record may have been deleted since; a peer that has nearly none of what it named makes them up.
    if len(asked) > len(digests) // 2 and len(asked) > _BATCH // 16:
        raise PeerFault("sync", f"{len(asked)} of {len(digests)} records that it named, it does not have")


async def answer(channel: Channel, holder: Holder) -> None:
    """Answer the questions of a peer until it has no more.

    Raises
    ------
    PeerFault
        It broke the protocol.
    """
    first = await channel.receive()
    if first[:1] != b"D" or not _DOMAIN.fullmatch(first[1:]):
        raise PeerFault("sync", "no domain")
    domain = first[1:].decode()
    if domain not in holder.domains:
        await channel.send(b"N" + Reason.OTHER_DOMAIN.encode())
        return
    await channel.send(b"D")
    sides = Reconciler(await holder.ids(domain))
    while True:
        try:
            question = await channel.receive()
        except PeerFault as fault:
            if fault.reason == LEFT:  # as the protocol ends
                return
            raise
        await _answer_one(channel, holder, sides.answer, question)


async def _answer_one(channel: Channel, holder: Holder, reconcile: Callable[[bytes], bytes], question: bytes) -> None:
    kind, body = question[:1], question[1:]
    if kind == b"R":
        try:
            reply = await trio.to_thread.run_sync(reconcile, body)
        except SyncError as error:
            raise PeerFault("sync", str(error)) from error
        await channel.send(b"R" + reply)
    elif kind == b"G" and body and len(body) <= _BATCH * DIGEST_BYTES and len(body) % DIGEST_BYTES == 0:
        digests = [body[place : place + DIGEST_BYTES] for place in range(0, len(body), DIGEST_BYTES)]
        for record in await holder.raw(digests):
            await channel.send(b"V" + record)
        await channel.send(b"E")
    elif kind == b"P":
        verdicts = await holder.offer((body,), channel.peer)
        await channel.send(b"A" + verdicts[0].reason.encode())
    else:
        raise PeerFault("sync", "a question that there is not")


async def _expect(channel: Channel, kind: bytes) -> bytes:
    reply = await channel.receive()
    if reply[:1] == b"N":
        raise PeerFault(LEFT, f"it does not synchronise: {reply[1:60]!r}")
    if reply[:1] != kind:
        raise PeerFault("sync", "an answer to another question")
    return reply[1:]
