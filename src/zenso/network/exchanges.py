"""Synchronisations of a node with its peers, in its trio loop: how many at once, how long, and whose fault it was."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from libp2p.abc import INetStream

from zenso.network import sync
from zenso.network.admission import Verdict
from zenso.network.channel import Channel
from zenso.network.dag_cbor import CID_PREFIX
from zenso.network.judging import Judge
from zenso.network.peers import PeerFault
from zenso.network.reconciliation import SortedIds
from zenso.network.settings import NodeLimits
from zenso.network.store import RecordStore

_ANSWERED_AT_ONCE = 8  # that peers began; one of each
_BEGUN_AT_ONCE = 8
_ASKING = 0.75  # of an exchange's time, after which this node asks for no more: what it has asked for still comes


class Opener(Protocol):
    """What gives streams to peers."""

    async def open(self, peer: str, protocol: str) -> INetStream:
        """Open a stream to a peer; raises PeerFault."""


class Exchanges:
    """Exchanges records with peers: a ``sync.Holder``.

    Parameters
    ----------
    store : RecordStore
    judge : Judge
    domains : sequence of str
        Those that are followed.
    limits : NodeLimits
    """

    def __init__(self, store: RecordStore, judge: Judge, domains: Sequence[str], limits: NodeLimits) -> None:
        self.judge = judge
        self.counts: Counter[str] = Counter()
        self._store = store
        self._domains = domains
        self._limits = limits
        self._begun: set[str] = set()
        self._answered: set[str] = set()

    @property
    def may_begin(self) -> bool:
        """Whether few enough are going on that this node began."""
        return len(self._begun) < _BEGUN_AT_ONCE

    async def begin(self, peers: Opener, peer: str) -> None:
        """Synchronise all domains with a peer, unless that is being done."""
        if peer in self._begun:
            return
        self._begun.add(peer)
        limits = self._limits
        try:
            async with self._blaming(peer):
                for domain in self.domains:
                    channel = self._channel(await peers.open(peer, sync.PROTOCOL))
                    try:
                        with trio.fail_after(limits.exchange_seconds):
                            done = await sync.synchronise(channel, self, domain, _ASKING * limits.exchange_seconds)
                    finally:
                        await channel.close()
                    self.counts["exchanges"] += 1
                    self.counts["fetched"] += done.fetched
                    self.counts["pushed"] += done.pushed
                    self.counts["exchanged_bytes"] += done.sent_bytes + done.received_bytes
        finally:
            self._begun.discard(peer)

    async def answer(self, stream: INetStream) -> None:
        """Answer a peer that began."""
        channel = self._channel(stream)
        peer = channel.peer
        if not self.judge.is_ready or peer in self._answered or len(self._answered) >= _ANSWERED_AT_ONCE:
            await channel.reset()
            return
        self._answered.add(peer)
        try:
            async with self._blaming(peer):
                with trio.fail_after(self._limits.exchange_seconds):
                    await sync.answer(channel, self)
        finally:
            self._answered.discard(peer)
            await channel.reset()

    @asynccontextmanager
    async def _blaming(self, peer: str) -> AsyncIterator[None]:
        """Count what goes wrong in an exchange against the peer."""
        try:
            yield
        except PeerFault as fault:
            await self.judge.fault(peer, fault.reason)
        except trio.TooSlowError:
            await self.judge.fault(peer, "endless")

    def _channel(self, stream: INetStream) -> Channel:
        return Channel(stream, sync.FRAME_BYTES, self._limits.exchange_bytes, self._limits.step_seconds)

    # --- what an exchange needs of the node -----------------------------------------------------------------------

    @property
    def domains(self) -> Sequence[str]:
        """Those that are followed."""
        return self._domains

    async def ids(self, domain: str) -> SortedIds:
        """Return the digests of a domain's records, as they are now."""
        found: SortedIds = await trio.to_thread.run_sync(self._store.ids, domain)
        return found

    async def raw(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return the records of digests, as far as they are held."""
        found = await trio.to_thread.run_sync(self._store.raw, [CID_PREFIX + digest for digest in digests])
        return list(found.values())

    async def wanted(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return those of digests that are missing which are worth fetching."""
        wanted = await trio.to_thread.run_sync(self.judge.admission.wanted, digests)
        return [one[len(CID_PREFIX) :] for one in wanted]

    async def offer(self, records: Sequence[bytes], peer: str) -> list[Verdict]:
        """Take records, as far as they pass."""
        return await self.judge.take_synced(records, peer)
