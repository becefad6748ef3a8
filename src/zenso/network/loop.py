"""The part of a node that lives in a trio loop: peers come and go, and records with them."""

import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio
from libp2p.abc import INetStream

from zenso.errors import StorageError
from zenso.network import objects, sync
from zenso.network.addresses import peer_of
from zenso.network.admission import Admission, Verdict
from zenso.network.channel import Channel
from zenso.network.control import Answer, serve_control
from zenso.network.dag_cbor import CID_PREFIX
from zenso.network.folder import NodeFolder
from zenso.network.inbox import Inbox
from zenso.network.objects import ObjectServer, ObjectStore, Part
from zenso.network.peers import HARMLESS, LEFT, PeerBook, PeerFault
from zenso.network.reasons import Blame, Reason
from zenso.network.reconciliation import SortedIds
from zenso.network.records import MAX_RECORD_BYTES
from zenso.network.store import RecordStore
from zenso.network.transport import Transport

T = TypeVar("T")
log = logging.getLogger("zenso.network")

_TOPIC = "/zenso/1/"  # and the domain
_WATCH_SECONDS = 0.25  # between looks at who is connected
_DIAL_SECONDS = (0.5, 30.0)  # between attempts to reach a peer: the first and the longest
_DISCOVER_SECONDS = (3.0, 30.0)  # until peers are asked for others, and between
_REMEMBER_SECONDS = 5.0  # between looks at whether there are other peers
_REMEMBERED = 50  # addresses, of those connected and of earlier ones
_ENOUGH_PEERS = 8  # beyond which no others are looked for
_ANSWERED_AT_ONCE = 8  # synchronisations that peers began; one of each
_BEGUN_AT_ONCE = 8  # synchronisations that this node began
_OFFERED_AT_ONCE = 32
_ASKING = 0.75  # of an exchange's time, after which this node asks for no more: what it has asked for still comes
_VERDICT_SECONDS = 30.0
_RESTART_SECONDS = 1.0
_RATE_WEIGHT = 0.01  # of a message too many: neighbours of a busy peer pass on much


class _Offer:
    """A record that waits for its verdict."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.passed_on = False


class NodeLoop:
    """Runs until it is stopped; libp2p is started anew should it fail.

    Parameters
    ----------
    folder : NodeFolder
    store : RecordStore
    admission : Admission
    answer : callable
        Answers requests of the control socket.
    on_change : callable
        Told when records were accepted, or disputes settled.
    shared : ObjectStore or None
        The large objects that peers may have.
    """

    def __init__(
        self,
        folder: NodeFolder,
        store: RecordStore,
        admission: Admission,
        answer: Answer,
        on_change: Callable[[], None],
        shared: ObjectStore | None = None,
    ) -> None:
        self._on_change = on_change
        self._folder = folder
        self._settings = folder.settings
        self._store = store
        self._admission = admission
        self._answer_control = answer
        limits = folder.settings.limits
        self._limits = limits
        self._inbox = Inbox(admission, limits.waiting)
        self._book = PeerBook(limits.messages_per_second, limits.burst, limits.ban_seconds)
        self._objects = ObjectServer(
            shared, limits.objects_at_once, limits.object_bytes_per_second, limits.exchange_seconds
        )
        self.counts: Counter[str] = Counter()
        self._transport: Transport | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._offers: dict[bytes, _Offer] = {}
        self._syncing: set[str] = set()
        self._answering: set[str] = set()
        self._wake = trio.Event()  # there is something to judge
        self._admitting = trio.Lock()
        self._began = time.monotonic()

    # --- from other threads ---------------------------------------------------------------------------------------

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until ``stop``; tell when the node listens."""
        trio.run(self._main, on_ready)

    def stop(self) -> None:
        """End it, from any thread."""
        token, scope = self._token, self._scope
        if token is not None and scope is not None:
            try:
                token.run_sync_soon(scope.cancel)
            except trio.RunFinishedError:
                return

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the loop, from another thread."""
        result: T = trio.from_thread.run_sync(function, *arguments, trio_token=self._token)
        return result

    def publish(self, domain: str, record: bytes) -> int:
        """Send a record to the peers that follow its domain, from another thread; return how many peers there are."""
        return int(trio.from_thread.run(self._publish, domain, record, trio_token=self._token))

    def fetch_object(self, part: Part, on_length: Callable[[int], None]) -> None:
        """Fetch an object from peers, from another thread; see ``objects.fetch_object``."""
        try:
            trio.from_thread.run(
                objects.fetch_object, self, part, on_length, self._limits.step_seconds, trio_token=self._token
            )
        except (trio.RunFinishedError, trio.Cancelled) as error:
            raise objects.ObjectMissingError("the node has ended") from error

    # --- what is shown --------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return addresses, peers and counts."""
        transport = self._transport
        return {
            "peer": self._folder.peer,
            "creator": self._folder.identity.public_key.hex(),
            "addresses": transport.addresses if transport is not None else [],
            "uptime_seconds": time.monotonic() - self._began,
            "peers": transport.peers if transport is not None else [],
            "refused": dict(self._book.refused),
            "counts": {**self.counts, **self._objects.counts},
            "waiting": len(self._offers),
        }

    def peers(self) -> list[dict[str, Any]]:
        """Return what is known of each peer, those that are connected first."""
        connected = set(self._transport.peers) if self._transport is not None else set()
        now = time.monotonic()
        found = dict(self._book.items())
        shown = [
            {
                "peer": name,
                "connected": name in connected,
                "accepted": found[name].accepted if name in found else 0,
                "refused": dict(found[name].refused) if name in found else {},
                "banned_seconds": max(0.0, found[name].banned_until - now) if name in found else 0.0,
            }
            for name in [*connected, *(name for name in found if name not in connected)]
        ]
        return sorted(shown, key=lambda peer: (not peer["connected"], peer["peer"]))

    # --- life -----------------------------------------------------------------------------------------------------

    async def _main(self, on_ready: Callable[[], None]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            await nursery.start(serve_control, self._folder.path, self._answer_control)
            nursery.start_soon(self._admit)
            ready = False

            def listening() -> None:
                nonlocal ready
                ready = True
                on_ready()

            while True:
                try:
                    await self._serve(listening)
                except Exception:
                    if not ready:
                        raise
                    # From a peer, anything can come, and libp2p may end at it.
                    log.exception("the transport ended and is started again")
                    self.counts["restarts"] += 1
                await trio.sleep(_RESTART_SECONDS)

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        topics = {domain: _TOPIC + domain for domain in self._settings.domains}
        transport = Transport(
            self._folder.identity.seed,
            self._settings.listen,
            topics=list(topics.values()),
            message_bytes=MAX_RECORD_BYTES,
            waiting=self._limits.waiting,
            gate=self._gate,
            welcome=self._welcome,
            on_fault=self.fault,
        )
        async with transport.running():
            self._transport = transport
            try:
                transport.handle(sync.PROTOCOL, self._answer_sync)
                transport.handle(objects.PROTOCOL, self._answer_object)
                for topic in topics.values():
                    await transport.subscribe(topic, self._verdict)
                on_ready()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, transport, nursery)
                    nursery.start_soon(self._remember, transport)
                    nursery.start_soon(self._discover, transport)
                    nursery.start_soon(transport.leave_silent, self._limits.silence_seconds)
                    nursery.start_soon(self._synchronise_regularly, transport, nursery)
                    for peer in self._settings.peers:
                        nursery.start_soon(self._stay_connected, transport, peer)
            finally:
                self._transport = None

    # --- peers ----------------------------------------------------------------------------------------------------

    def _gate(self, peer: str) -> bool:
        # What cannot be recomputed yet comes by synchronisation, once it can.
        if self._book.is_banned(peer) or not self._can_judge:
            return False
        if self._book.take(peer):
            return True
        if self._book.fault(peer, Reason.SENDER_RATE, _RATE_WEIGHT):
            self._cut_off(peer)
        return False

    @property
    def _can_judge(self) -> bool:
        """Whether the model is there; until then nothing is taken, and nobody waits for a verdict."""
        return self._admission.recomputer.is_loaded

    def _welcome(self, peer: str) -> bool:
        return not self._book.is_banned(peer) and not self._admission.is_cut_off(peer)

    async def fault(self, peer: str, reason: str) -> None:
        """Count what a peer did wrong, against it."""
        if reason == LEFT:
            self.counts[LEFT] += 1
            return
        if self._book.fault(peer, reason):
            self._cut_off(peer)
        if reason not in HARMLESS:
            self._admission.blame_peer(peer)

    def _cut_off(self, peer: str) -> None:
        self.counts["cut_off"] += 1
        log.warning("peer %s is cut off", peer)

    async def _watch(self, transport: Transport, nursery: trio.Nursery) -> None:
        """Synchronise with whom is new, and leave whom is cut off."""
        known: set[str] = set()
        could_judge = False
        while True:
            connected, can_judge = set(transport.peers), self._can_judge
            for peer in connected:
                if not self._welcome(peer):
                    await transport.disconnect(peer)
                # One of the two begins; but peers that came before the model was there were sent away.
                elif can_judge and peer not in known and (transport.id < peer or not could_judge):
                    nursery.start_soon(self._synchronise, transport, peer)
            known, could_judge = connected if can_judge else set(), can_judge
            await trio.sleep(_WATCH_SECONDS)

    async def _stay_connected(self, transport: Transport, address: str) -> None:
        peer, (wait, longest) = peer_of(address), _DIAL_SECONDS
        first = wait
        while peer != transport.id:
            if peer in transport.peers or not self._welcome(peer) or await transport.connect(address):
                wait = first
                await trio.sleep(first)
                continue
            await trio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311 - so that not all dial at once
            wait = min(2 * wait, longest)

    async def _remember(self, transport: Transport) -> None:
        """Keep the addresses of peers on the disk: after a restart they are found where nobody finds this node."""
        remembered = self._folder.remembered_peers()
        while True:
            await trio.sleep(_REMEMBER_SECONDS)
            addresses = list(dict.fromkeys([*transport.peer_addresses(), *remembered]))[:_REMEMBERED]
            if set(addresses) != set(remembered):
                try:
                    await trio.to_thread.run_sync(self._folder.remember_peers, addresses)
                except StorageError:
                    log.exception("the addresses of peers could not be kept")
                remembered = addresses

    async def _discover(self, transport: Transport) -> None:
        for address in self._folder.remembered_peers():
            if len(transport.peers) < _ENOUGH_PEERS and self._welcome(peer_of(address)):
                await transport.connect(address)
        wait, between = _DISCOVER_SECONDS
        while True:
            await trio.sleep(wait)
            wait = between
            if not 0 < len(transport.peers) < _ENOUGH_PEERS:
                continue
            for address in await transport.discover():
                if len(transport.peers) < _ENOUGH_PEERS and self._welcome(peer_of(address)):
                    await transport.connect(address)

    # --- gossip ---------------------------------------------------------------------------------------------------

    async def _publish(self, domain: str, record: bytes) -> int:
        transport = self._transport
        if transport is None:
            return 0
        await transport.publish(_TOPIC + domain, record)
        return len(transport.peers)

    async def _verdict(self, peer: str, record: bytes) -> bool:
        """Return whether a record that came by gossip is to be passed on."""
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

    async def _admit(self) -> None:
        """Judge what waits, the most reputable sender's first."""
        while True:
            offers: list[tuple[bytes, str]] = []
            while len(offers) < _OFFERED_AT_ONCE and (offer := self._inbox.take()) is not None:
                offers.append(offer)
            if not offers:
                await self._wake.wait()
                self._wake = trio.Event()
                continue
            async with self._admitting:
                verdicts = await trio.to_thread.run_sync(partial(self._judge, offers, synced=False))
            for (record, peer), verdict in zip(offers, verdicts, strict=True):
                self._settle(record, peer, verdict)

    def _judge(self, offers: Sequence[tuple[bytes, str]], *, synced: bool) -> list[Verdict]:
        verdicts = []
        for record, peer in offers:
            try:
                verdicts.append(self._admission.offer(record, peer, synced=synced))
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
            self._book.accept(peer)
            return
        if verdict.reason is Reason.KNOWN:
            return
        blamed = verdict.reason.blame is Blame.SENDER
        if self._book.fault(peer, verdict.reason, verdict.reason.weight if blamed else 0.0):
            self._cut_off(peer)

    # --- synchronisation ------------------------------------------------------------------------------------------

    @property
    def domains(self) -> Sequence[str]:
        """Those that are followed."""
        return self._settings.domains

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
        return [one[len(CID_PREFIX) :] for one in await trio.to_thread.run_sync(self._admission.wanted, digests)]

    async def offer(self, records: Sequence[bytes], peer: str) -> list[Verdict]:
        """Take records of a synchronisation, as far as they pass."""
        async with self._admitting:
            judge = partial(self._judge, [(record, peer) for record in records], synced=True)
            verdicts: list[Verdict] = await trio.to_thread.run_sync(judge)
        for verdict in verdicts:
            self._count(peer, verdict)
        return verdicts

    async def _synchronise_regularly(self, transport: Transport, nursery: trio.Nursery) -> None:
        """Make up for what gossip lost: it promises nothing."""
        while True:
            await trio.sleep(self._limits.sync_seconds * random.uniform(0.75, 1.25))  # noqa: S311 - so as not all at once
            candidates = self.connected() if self._can_judge else []
            if candidates and len(self._syncing) < _BEGUN_AT_ONCE:  # a slow peer holds up nobody else
                nursery.start_soon(self._synchronise, transport, random.choice(candidates))  # noqa: S311

    async def _synchronise(self, transport: Transport, peer: str) -> None:
        if peer in self._syncing:
            return
        self._syncing.add(peer)
        try:
            for domain in self.domains:
                channel = self._sync_channel(await transport.open(peer, sync.PROTOCOL))
                try:
                    with trio.fail_after(self._limits.exchange_seconds):
                        done = await sync.synchronise(channel, self, domain, _ASKING * self._limits.exchange_seconds)
                finally:
                    await channel.close()
                self.counts["exchanges"] += 1
                self.counts["fetched"] += done.fetched
                self.counts["pushed"] += done.pushed
                self.counts["exchanged_bytes"] += done.sent_bytes + done.received_bytes
        except PeerFault as fault:
            await self.fault(peer, fault.reason)
        except trio.TooSlowError:
            await self.fault(peer, "endless")
        finally:
            self._syncing.discard(peer)

    async def _answer_sync(self, stream: INetStream) -> None:
        channel = self._sync_channel(stream)
        peer = channel.peer
        if not self._can_judge or peer in self._answering or len(self._answering) >= _ANSWERED_AT_ONCE:
            await channel.reset()
            return
        self._answering.add(peer)
        try:
            with trio.fail_after(self._limits.exchange_seconds):
                await sync.answer(channel, self)
        except PeerFault as fault:
            await self.fault(peer, fault.reason)
        except trio.TooSlowError:
            await self.fault(peer, "endless")
        finally:
            self._answering.discard(peer)
            await channel.reset()

    def _sync_channel(self, stream: INetStream) -> Channel:
        limits = self._limits
        return Channel(stream, sync.FRAME_BYTES, limits.exchange_bytes, limits.step_seconds)

    # --- large objects --------------------------------------------------------------------------------------------

    def connected(self) -> list[str]:
        """Return the peers that are connected and not cut off."""
        return [peer for peer in self._transport.peers if self._welcome(peer)] if self._transport is not None else []

    async def open(self, peer: str, protocol: str) -> INetStream:
        """Open a stream to a peer; raises PeerFault."""
        if self._transport is None:
            raise PeerFault(LEFT, "the transport is started again")
        return await self._transport.open(peer, protocol)

    async def _answer_object(self, stream: INetStream) -> None:
        channel = Channel(stream, objects.QUESTION_BYTES, objects.MOST_BYTES, self._limits.step_seconds)
        try:
            await self._objects.answer(channel)
        except PeerFault as fault:
            await self.fault(channel.peer, fault.reason)
        finally:
            await channel.reset()
