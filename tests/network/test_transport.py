"""Hosts of libp2p on this machine, in one loop: they find each other by asking."""

import gc
import os
import warnings
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("libp2p", reason="needs zenso[network]")

import trio

from tests.network.hostile import TOPIC, transport

COUNT = 6


async def accept(*_):
    return True


def test_hosts_in_a_chain_find_the_others_by_kademlia_and_not_before():
    async def run():
        hosts = [transport(os.urandom(32)) for _ in range(COUNT)]
        async with AsyncExitStack() as stack:
            for host in hosts:
                await stack.enter_async_context(host.running())
                await host.subscribe(TOPIC, accept)
            for host, before in zip(hosts[1:], hosts, strict=False):
                assert await host.connect(before.addresses[0])
            await hosts[0].publish(TOPIC, b"a message")
            await trio.sleep(2.5)  # two heartbeats of gossip, and identification
            ids = [host.id for host in hosts]
            for place, host in enumerate(hosts):
                assert set(host.peers) == {*ids[max(0, place - 1) : place], *ids[place + 1 : place + 2]}
            for host in hosts:
                for address in await host.discover():
                    assert await host.connect(address)
            return [len(set(host.peers)) for host in hosts]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # libp2p leaves sockets to be collected
        peers = trio.run(run)
        gc.collect()
    assert min(peers) > 2  # none has more in the chain
