"""What peers hand over to a node, in its trio loop: judged in turn, passed on, and counted for or against them."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import trio

from zenso.errors import StorageError
from zenso.network.admission import Admission, Verdict
from zenso.network.inbox import Inbox
from zenso.network.peers import HARMLESS, LEFT, PeerBook
from zenso.network.reasons import Blame, Reason
from zenso.network.settings import NodeLimits

log = logging.getLogger("zenso.network")

_AT_ONCE = 32  # records judged between two looks at who is most reputable
_VERDICT_SECONDS = 30.0
_RATE_WEIGHT = 0.01  # of a message too many: neighbours of a busy peer pass on much


class _Offer:
    """A record that waits for its verdict."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.passed_on = False


class Judge:
    """Judges records one after the other, and keeps the book of peers.

    Parameters
    ----------
    admission : Admission
    limits : NodeLimits
    on_change : callable
        Told when a record was accepted.
    """

    def __init__(self, admission: Admission, limits: NodeLimits, on_change: Callable[[], None]) -> None:
        self.admission = admission
        self.book = PeerBook(limits.messages_per_second, limits.burst, limits.ban_seconds)
        self.counts: Counter[str] = Counter()
        self._on_change = on_change
        self._inbox = Inbox(admission, limits.waiting)
        self._offers: dict[bytes, _Offer] = {}
        self._wake = trio.Event()  # there is something to judge
        self._turn = trio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the model is there; until then nothing is taken, and nobody waits for a verdict."""
        return self.admission.recomputer.is_loaded

    @property
    def waiting(self) -> int:
        """Records whose verdict is awaited."""
        return len(self._offers)

    # --- peers ----------------------------------------------------------------------------------------------------

    def welcomes(self, peer: str) -> bool:
        """Tell whether anything at all is taken from a peer."""
        return not self.book.is_banned(peer) and not self.admission.is_cut_off(peer)

    def looks_at(self, peer: str) -> bool:
        """Tell whether one more message that a peer sends by gossip is looked at, and count it."""
        # What cannot be recomputed yet comes by synchronisation, once it can.
        if self.book.is_banned(peer) or not self.is_ready:
            return False
        if self.book.take(peer):
            return True
        if self.book.fault(peer, Reason.SENDER_RATE, _RATE_WEIGHT):
            self._cut_off(peer)
        return False

    async def fault(self, peer: str, reason: str) -> None:
        """Count what a peer did wrong, against it."""
        if reason == LEFT:
            self.counts[LEFT] += 1
            return
        if self.book.fault(peer, reason):
            self._cut_off(peer)
        if reason not in HARMLESS:
            self.admission.blame_peer(peer)

    def _cut_off(self, peer: str) -> None:
        self.counts["cut_off"] += 1
        log.warning("peer %s is cut off", peer)

    # --- records --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Judge what comes by gossip, the most reputable sender's first, without end."""
        while True:
            offers: list[tuple[bytes, str]] = []
            while len(offers) < _AT_ONCE and (offer := self._inbox.take()) is not None:
                offers.append(offer)
            if not offers:
                await self._wake.wait()
                self._wake = trio.Event()
                continue
            async with self._turn:
                verdicts = await trio.to_thread.run_sync(partial(self._judge, offers, synced=False))
            for (record, peer), verdict in zip(offers, verdicts, strict=True):
                self._settle(record, peer, verdict)

    async def passes_on(self, peer: str, record: bytes) -> bool:
        """Wait for the verdict on a record that came by gossip; tell whether it is to be passed on."""
        key = hashlib.sha256(record).digest()
        offer = self._offers.get(key)
        if offer is None:
            offer = self._offers[key] = _Offer()
            shed = self._inbox.put(record, peer)
            if shed is not None:
                verdict = Verdict(Reason.OVERLOADED, "too much waits to be checked; send it again later")
                self._settle(shed.data, shed.sender, verdict)
            self._wake.set()
        with trio.move_on_after(_VERDICT_SECONDS):
            await offer.done.wait()
        self._offers.pop(key, None)
        return offer.passed_on

    async def take_synced(self, records: Sequence[bytes], peer: str) -> list[Verdict]:
        """Judge records of a synchronisation, and take those that pass."""
        async with self._turn:
            judge = partial(self._judge, [(record, peer) for record in records], synced=True)
            verdicts: list[Verdict] = await trio.to_thread.run_sync(judge)
        for verdict in verdicts:
            self._count(peer, verdict)
        return verdicts

    def _judge(self, offers: Sequence[tuple[bytes, str]], *, synced: bool) -> list[Verdict]:
        verdicts = []
        for record, peer in offers:
            try:
                verdicts.append(self.admission.offer(record, peer, synced=synced))
            except StorageError as error:
                log.exception("a record could not be stored")
                verdicts.append(Verdict(Reason.OVERLOADED, str(error)))
        return verdicts

    def _settle(self, record: bytes, peer: str, verdict: Verdict) -> None:
        """Count a verdict, and tell who waits for it."""
        offer = self._offers.pop(hashlib.sha256(record).digest(), None)
        if offer is not None:
            # A false dispute is kept, so that all nodes hold the same, and so it is passed on.
            offer.passed_on = verdict.accepted or verdict.reason is Reason.FALSE_DISPUTE
            offer.done.set()
        self._count(peer, verdict)

    def _count(self, peer: str, verdict: Verdict) -> None:
        if verdict.accepted:
            self._on_change()
            self.counts["accepted"] += 1
            self.book.accept(peer)
            return
        if verdict.reason is Reason.KNOWN:
            return
        blamed = verdict.reason.blame is Blame.SENDER
        if self.book.fault(peer, verdict.reason, verdict.reason.weight if blamed else 0.0):
            self._cut_off(peer)
