"""The part of a node that lives in a trio loop: peers come and go, and records with them."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import trio
from libp2p.abc import INetStream

from zenso.errors import StorageError
from zenso.network import objects, sync
from zenso.network.addresses import peer_of
from zenso.network.admission import Admission
from zenso.network.channel import Channel
from zenso.network.control import Answer, serve_control
from zenso.network.exchanges import Exchanges
from zenso.network.folder import NodeFolder
from zenso.network.judging import Judge
from zenso.network.objects import ObjectServer, ObjectStore, Part
from zenso.network.peers import LEFT, PeerFault
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
_RESTART_SECONDS = 1.0


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
        self._folder = folder
        self._settings = folder.settings
        self._answer_control = answer
        limits = folder.settings.limits
        self._limits = limits
        self._judge = Judge(admission, limits, on_change)
        self._exchanges = Exchanges(store, self._judge, folder.settings.domains, limits)
        self._objects = ObjectServer(
            shared, limits.objects_at_once, limits.object_bytes_per_second, limits.exchange_seconds
        )
        self._restarts = 0
        self._transport: Transport | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
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
        restarts = {"restarts": self._restarts} if self._restarts else {}
        return {
            "peer": self._folder.peer,
            "creator": self._folder.identity.public_key.hex(),
            "addresses": transport.addresses if transport is not None else [],
            "uptime_seconds": time.monotonic() - self._began,
            "peers": transport.peers if transport is not None else [],
            "refused": dict(self._judge.book.refused),
            "counts": {**restarts, **self._judge.counts, **self._exchanges.counts, **self._objects.counts},
            "waiting": self._judge.waiting,
        }

    def peers(self) -> list[dict[str, Any]]:
        """Return what is known of each peer, those that are connected first."""
        connected = set(self._transport.peers) if self._transport is not None else set()
        now = time.monotonic()
        found = dict(self._judge.book.items())
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
            nursery.start_soon(self._judge.run)
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
                    self._restarts += 1
                await trio.sleep(_RESTART_SECONDS)

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        topics = {domain: _TOPIC + domain for domain in self._settings.domains}
        transport = Transport(
            self._folder.identity.seed,
            self._settings.listen,
            topics=list(topics.values()),
            message_bytes=MAX_RECORD_BYTES,
            waiting=self._limits.waiting,
            gate=self._judge.looks_at,
            welcome=self._judge.welcomes,
            on_fault=self._judge.fault,
        )
        async with transport.running():
            self._transport = transport
            try:
                transport.handle(sync.PROTOCOL, self._exchanges.answer)
                transport.handle(objects.PROTOCOL, self._answer_object)
                for topic in topics.values():
                    await transport.subscribe(topic, self._judge.passes_on)
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

    async def _watch(self, transport: Transport, nursery: trio.Nursery) -> None:
        """Synchronise with whom is new, and leave whom is cut off."""
        known: set[str] = set()
        could_judge = False
        while True:
            connected, can_judge = set(transport.peers), self._judge.is_ready
            for peer in connected:
                if not self._judge.welcomes(peer):
                    await transport.disconnect(peer)
                # One of the two begins; but peers that came before the model was there were sent away.
                elif can_judge and peer not in known and (transport.id < peer or not could_judge):
                    nursery.start_soon(self._exchanges.begin, transport, peer)
            known, could_judge = connected if can_judge else set(), can_judge
            await trio.sleep(_WATCH_SECONDS)

    async def _stay_connected(self, transport: Transport, address: str) -> None:
        peer, (wait, longest) = peer_of(address), _DIAL_SECONDS
        first = wait
        while peer != transport.id:
            if peer in transport.peers or not self._judge.welcomes(peer) or await transport.connect(address):
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
            if len(transport.peers) < _ENOUGH_PEERS and self._judge.welcomes(peer_of(address)):
                await transport.connect(address)
        wait, between = _DISCOVER_SECONDS
        while True:
            await trio.sleep(wait)
            wait = between
            if not 0 < len(transport.peers) < _ENOUGH_PEERS:
                continue
            for address in await transport.discover():
                if len(transport.peers) < _ENOUGH_PEERS and self._judge.welcomes(peer_of(address)):
                    await transport.connect(address)

    # --- records -----------------------------------------------------------------------------------------------------

    async def _publish(self, domain: str, record: bytes) -> int:
        transport = self._transport
        if transport is None:
            return 0
        await transport.publish(_TOPIC + domain, record)
        return len(transport.peers)

    async def _synchronise_regularly(self, transport: Transport, nursery: trio.Nursery) -> None:
        """Make up for what gossip lost: it promises nothing."""
        while True:
            await trio.sleep(self._limits.sync_seconds * random.uniform(0.75, 1.25))  # noqa: S311 - so as not all at once
            candidates = self.connected() if self._judge.is_ready else []
            if candidates and self._exchanges.may_begin:  # a slow peer holds up nobody else
                nursery.start_soon(self._exchanges.begin, transport, random.choice(candidates))  # noqa: S311

    # --- large objects --------------------------------------------------------------------------------------------

    def connected(self) -> list[str]:
        """Return the peers that are connected and not cut off."""
        return (
            [peer for peer in self._transport.peers if self._judge.welcomes(peer)]
            if self._transport is not None
            else []
        )

    async def open(self, peer: str, protocol: str) -> INetStream:
        """Open a stream to a peer; raises PeerFault."""
        if self._transport is None:
            raise PeerFault(LEFT, "the transport is started again")
        return await self._transport.open(peer, protocol)

    async def fault(self, peer: str, reason: str) -> None:
        """Count what a peer did wrong, against it."""
        await self._judge.fault(peer, reason)

    async def _answer_object(self, stream: INetStream) -> None:
        channel = Channel(stream, objects.QUESTION_BYTES, objects.MOST_BYTES, self._limits.step_seconds)
        try:
            await self._objects.answer(channel)
        except PeerFault as fault:
            await self._judge.fault(channel.peer, fault.reason)
        finally:
            await channel.reset()
