"""libp2p as a node uses it: Noise over TCP, gossip about domains, and streams; whatever a peer sends, it goes on.

Everything here runs in one trio loop.
"""

import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair as ed25519_pair
from libp2p.crypto.x25519 import create_new_key_pair as x25519_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.health.ping_probe import ping_connection
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service

from zenso.errors import InputError
from zenso.network.addresses import address, check_free
from zenso.network.folder import PEER_PREFIX
from zenso.network.peers import LEFT, PeerFault

_DEGREE, _DEGREE_LOW, _DEGREE_HIGH = 6, 4, 12  # peers of a mesh, as libp2p's specification advises
_ROOM = 24  # of the 32 messages that libp2p queues for a peer; one more is lost
_ROOM_SECONDS = 2.0  # for which a slow peer holds up the others
_DIAL_SECONDS = 20.0  # a lost packet of a handshake costs a second, and then two, and four
_MOST_PEERS = 200
_TABLE = TProtocol("/zenso")  # of the names of Kademlia's protocols

# What libp2p raises where a connection breaks, whoever's fault that is.
_BROKEN = (StreamError, ConnectionClosedError, RawConnError, IncompleteReadError, MuxedConnError, MuxedStreamError)

Verdict = Callable[[str, bytes], Awaitable[bool]]  # of a message of a peer: True to pass it on
Handler = Callable[[INetStream], Awaitable[None]]
OnFault = Callable[[str, str], Awaitable[None]]
Gate = Callable[[str], bool]  # whether a message of a peer is looked at

logging.getLogger("libp2p").setLevel(logging.CRITICAL)  # what peers do wrong is counted, not logged


class _GuardedPubsub(Pubsub):
    """Gossip that survives what peers send: libp2p ends the whole host at an error in a message's task."""

    gate: Gate
    on_fault: OnFault
    waiting = 0
    most_waiting = 512
    heard: dict[ID, float]  # when a peer last sent something

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:  # noqa: ANN401 - a message of protobuf
        if msg_forwarder == self.my_id:
            await super().push_msg(msg_forwarder, msg)
            return
        self.heard[msg_forwarder] = trio.current_time()
        peer = str(msg_forwarder)
        if not self.gate(peer):
            return
        # libp2p starts a task for each message, however many come.
        if self.waiting >= self.most_waiting:
            await self.on_fault(peer, "overload")
            return
        self.waiting += 1
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception:  # noqa: BLE001 - from a peer, anything can come
            await self.on_fault(peer, "garbage")
        finally:
            self.waiting -= 1


class Transport:
    """A host of libp2p.

    Parameters
    ----------
    seed : bytes
        The 32 bytes of the node's private Ed25519 key.
    listen : sequence of str
        Multiaddresses to listen on.
    topics : sequence of str
        What may be asked for here, by this host and by its peers.
    message_bytes : int
        Most bytes of one gossip message.
    waiting : int
        Most gossip messages that wait for their verdict.
    gate : callable
        Asked for each gossip message of a peer, before anything else is done about it.
    welcome : callable
        Asked for each stream that a peer opens.
    on_fault : callable
        Told of peers and what they did wrong.

    Raises
    ------
    InputError
        An address is none.
    """

    def __init__(
        self,
        seed: bytes,
        listen: Sequence[str],
        *,
        topics: Sequence[str],
        message_bytes: int,
        waiting: int,
        gate: Gate,
        welcome: Gate,
        on_fault: OnFault,
    ) -> None:
        self._welcome = welcome
        self._listen = [address(text) for text in listen]
        self._on_fault = on_fault
        pair = ed25519_pair(seed)
        self._host: Any = new_host(
            key_pair=pair,
            sec_opt={NOISE: NoiseTransport(pair, noise_privkey=x25519_pair().private_key)},
            muxer_opt={TProtocol(YAMUX): Yamux},
            listen_addrs=self._listen,
            disable_identify_address_discovery=True,
            # Connections are this module's own matter: libp2p dials nobody by itself.
            connection_config=ConnectionConfig(
                max_connections=_MOST_PEERS, min_connections=0, low_watermark=0, high_watermark=_MOST_PEERS
            ),
        )
        self._accept = self._host._swarm_stream_handler  # noqa: SLF001 - there is no public name for it
        self._host.get_network().set_stream_handler(self._guarded)
        router = GossipSub(
            [PROTOCOL_ID_V12, PROTOCOL_ID_V11],
            _DEGREE,
            _DEGREE_LOW,
            _DEGREE_HIGH,
            heartbeat_interval=1,
            prune_back_off=10,
            # Peers of one address are no reason for suspicion here, and rates are this project's own limits.
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            adaptive_gossip_enabled=False,
        )
        self._router = router
        self._pubsub = _GuardedPubsub(
            self._host,
            router,
            strict_signing=False,  # what is sent is signed itself
            msg_id_constructor=lambda message: hashlib.sha256(message.data).digest(),
            max_inbound_rpc_size=4 * message_bytes,
            max_subscriptions_per_rpc=100,
            max_concurrent_validator_count=waiting,
            validation_timeout=30,
            allowed_topics=frozenset(topics),
        )
        self._pubsub.gate, self._pubsub.on_fault, self._pubsub.most_waiting = gate, on_fault, waiting
        self._pubsub.heard = {}
        self._table: Any = KadDHT(
            self._host, DHTMode.SERVER, protocol_prefix=_TABLE, enable_providers=False, enable_values=False
        )
        self._stuck: set[ID] = set()  # peers whose queues were waited for in vain, and are full since
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, until the end of the block.

        Raises
        ------
        InputError
            An address cannot be listened on.
        """
        for one in self._listen:
            check_free(one)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._host.run(self._listen))
            if len(self._host.get_transport_addrs()) < len(self._listen):
                wanted = ", ".join(map(str, self._listen))
                raise InputError(f"not all of {wanted} can be listened on; give addresses that are free in node.toml")
            await stack.enter_async_context(background_trio_service(self._pubsub))
            await stack.enter_async_context(background_trio_service(self._router))
            await stack.enter_async_context(background_trio_service(self._table))
            self._nursery = nursery = await stack.enter_async_context(trio.open_nursery())
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                self._nursery = None

    @property
    def id(self) -> str:
        """The peer id of this host."""
        return str(self._host.get_id())

    @property
    def addresses(self) -> list[str]:
        """Where the host listens, with its peer id."""
        return [str(found) for found in self._host.get_addrs()]

    @property
    def peers(self) -> list[str]:
        """The ids of the peers that are connected."""
        return [str(peer) for peer in self._host.get_connected_peers()]

    async def connect(self, text: str) -> bool:
        """Connect to an address that names a peer; False if nobody answers there."""
        peer = info_from_p2p_addr(address(text))
        # libp2p refuses for a minute to dial whom it could not reach; when to try again is decided by who calls this.
        self._host.get_network().unblock_peer(peer.peer_id)
        try:
            with trio.move_on_after(_DIAL_SECONDS) as limit:
                await self._host.connect(peer)
        except (BaseLibp2pError, OSError, ExceptionGroup):
            return False
        return not limit.cancelled_caught

    async def discover(self) -> list[str]:
        """Ask peers for others, by Kademlia; return addresses of peers that are not connected."""
        with trio.move_on_after(10):
            try:
                await self._table.find_peer(ID(PEER_PREFIX + os.urandom(32)))  # nobody: the answer is who is near it
            except (BaseLibp2pError, OSError, ExceptionGroup, ValueError):
                return []
        connected = set(self._host.get_connected_peers()) | {self._host.get_id()}
        return self._addresses_of(peer for peer in self._table.routing_table.get_peer_ids() if peer not in connected)

    def peer_addresses(self) -> list[str]:
        """Return where the peers that are connected can be reached."""
        return self._addresses_of(self._host.get_connected_peers())

    def _addresses_of(self, peers: Iterable[ID]) -> list[str]:
        """Return one address of each peer of which one is known."""
        found = []
        for peer in peers:
            try:
                addresses = self._host.get_peerstore().addrs(peer)
            except (BaseLibp2pError, KeyError):  # a peer that said no address
                continue
            found += [str(near) if "/p2p/" in str(near) else f"{near}/p2p/{peer}" for near in addresses[:1]]
        return found

    async def disconnect(self, peer: str) -> None:
        """Close all connections to a peer."""
        for connection in self._host.get_network().get_connections(ID.from_string(peer)):
            await self._close(connection)

    async def leave_silent(self, seconds: float) -> None:
        """Close each connection on which neither a ping nor anything else comes in so many seconds.

        Across a partition, and to a machine that lost its power, connections look open for a quarter of an hour. A peer
        that is busy may answer no ping in time, but what it sends shows that it is there. Runs until it is cancelled.
        """
        waiting: set[Any] = set()
        heard = self._pubsub.heard

        async def ping(connection: Any) -> None:  # noqa: ANN401 - a connection of libp2p
            answered = (await ping_connection(connection, ping_timeout=seconds)).success
            last = heard.get(connection.muxed_conn.peer_id, float("-inf"))
            if not answered and last < trio.current_time() - seconds:
                await self._close(connection)
            waiting.discard(connection)

        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(seconds / 2)
                for peer in heard.keys() - set(self._host.get_connected_peers()):
                    del heard[peer]
                for connection in self._host.get_network().get_connections():
                    if connection not in waiting:
                        waiting.add(connection)
                        nursery.start_soon(ping, connection)

    async def _close(self, connection: Any) -> None:  # noqa: ANN401 - a connection of libp2p
        with trio.move_on_after(2, shield=True):
            try:
                # The socket first: libp2p says goodbye before it closes, and waits where nothing can be written.
                await connection.muxed_conn.secured_conn.close()
                await connection.close()
            except Exception:  # noqa: BLE001 - of all that is told of it, something may fail; it is closed
                return

    async def subscribe(self, topic: str, verdict: Verdict) -> None:
        """Ask for the messages of a topic; those that the verdict is True for are passed on to others."""

        async def validate(forwarder: ID, message: Any) -> bool:  # noqa: ANN401 - a message of protobuf
            if str(forwarder) == self.id:
                return True
            taken = await verdict(str(forwarder), message.data)
            if taken:
                await self._room()
            return taken

        async def drain() -> None:
            while True:
                await subscription.get()

        assert self._nursery is not None
        self._pubsub.set_topic_validator(topic, validate, is_async_validator=True)
        subscription = await self._pubsub.subscribe(topic)
        self._nursery.start_soon(drain)

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to all that asked for a topic."""
        await self._room()
        await self._pubsub.publish(topic, message)

    def handle(self, protocol: str, handler: Handler) -> None:
        """Answer streams of a protocol."""
        self._host.set_stream_handler(TProtocol(protocol), handler)

    async def open(self, peer: str, protocol: str) -> INetStream:
        """Open a stream to a connected peer.

        Raises
        ------
        PeerFault
            It is gone, or does not speak the protocol.
        """
        try:
            with trio.fail_after(10):
                stream: INetStream = await self._host.new_stream(ID.from_string(peer), [TProtocol(protocol)])
                return stream
        except (BaseLibp2pError, OSError, trio.TooSlowError, ExceptionGroup) as error:
            raise PeerFault(LEFT, f"no stream to it can be opened ({error})") from error

    async def _room(self) -> None:
        """Wait until no peer's queue is about to overflow, but not twice for a peer that takes nothing."""
        queues = self._pubsub.peer_queues

        def full() -> set[ID]:
            return {peer for peer, queue in queues.items() if len(queue) > _ROOM}

        self._stuck &= full()
        with trio.move_on_after(_ROOM_SECONDS):
            while full() - self._stuck:
                await trio.sleep(0.005)
        self._stuck |= full()

    async def _guarded(self, stream: INetStream) -> None:
        """Handle one stream of a peer; libp2p would end the whole host at an error."""
        peer = str(stream.muxed_conn.peer_id)
        if not self._welcome(peer):
            await self.disconnect(peer)
            return
        self._pubsub.heard[stream.muxed_conn.peer_id] = trio.current_time()
        try:
            await self._accept(stream)
        except PeerFault as fault:
            await self._on_fault(peer, fault.reason)
        except (*_BROKEN, trio.TooSlowError):
            await self._on_fault(peer, LEFT)
        except Exception:  # noqa: BLE001 - from a peer, anything can come
            await self._on_fault(peer, "garbage")
            await self.disconnect(peer)


def first_error(error: BaseException) -> BaseException:
    """Return the error within groups of one, which trio makes."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
