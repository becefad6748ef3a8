"""Six hosts with a bad network between them, cut in two while both sides write: when it is healed, nothing is lost."""

import contextlib
import subprocess
import sys

import pytest

pytest.importorskip("multiaddr", reason="needs zenso[network]")

from bench.emulated_network import EmulatedNetwork, why_not
from bench.node_process import NodeProcess, eventually
from bench.partition import PORT, Scenario, run_scenario
from tests.bench.test_engines import documented
from tests.cli.process import child_environment
from tests.network.nodes import ENVIRONMENT

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no network can be emulated: {REASON}")

LIMITS = {"sync_seconds": 2, "silence_seconds": 6}
NETWORK = {"hosts", "congestion_control", "network_packets_per_s", "network_mb_per_s"}
LISTEN = "import socket; server = socket.create_server(('10.77.0.2', 5000)); print(flush=True); server.accept()"
CONNECT = "import socket; socket.create_connection(('10.77.0.2', 5000), 0.5)"


def test_a_partition_with_losses_delay_and_kills_loses_nothing():
    scenario = Scenario(loss=0.2, delay_seconds=0.2, kills=True)
    results = run_scenario(scenario, 4, limits=LIMITS, environment=child_environment(ENVIRONMENT))
    assert documented("`partition`") == NETWORK | set(results)
    assert results["acknowledged"] > 0
    assert results["packets_lost"] > 0
    assert results["packets_cut"] > 0
    assert results["held_at_healing_max"] < results["held_after"]  # neither side had all
    assert results["nodes_agree"]
    assert not any(results[name] for name in ("acknowledged_missing", "withdrawn_standing", "lessons_lost"))
    assert not any(results[name] for name in ("cut_off", "restarts"))


def test_peers_that_are_out_of_reach_are_left_and_found_again_and_not_blamed(tmp_path):
    limits = {"step_seconds": 0.5, "sync_seconds": 0.5, "silence_seconds": 2}
    with EmulatedNetwork(2) as network, contextlib.ExitStack() as stack:
        nodes = []
        for host in range(2):
            node = NodeProcess(
                tmp_path / str(host),
                [node.address for node in nodes],
                listen=f"/ip4/{network.address(host)}/tcp/{PORT}",
                limits=limits,
                prefix=network.prefix(host),
                environment=child_environment(ENVIRONMENT),
            )
            stack.callback(node.close)
            nodes.append(node)
        eventually(lambda: all(node.status()["peers"] for node in nodes), 60)
        network.change(groups=[(0,), (1,)])
        eventually(lambda: not any(node.status()["peers"] for node in nodes), 60)
        network.change()
        eventually(lambda: all(node.status()["peers"] for node in nodes), 60)
        assert [node.status()["refused"] for node in nodes] == [{}, {}]


def test_hosts_reach_each_other_unless_they_are_parted_and_go_with_who_made_them():
    with EmulatedNetwork(2) as network:
        command = [*network.prefix(1), sys.executable, "-c", LISTEN]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
            assert server.stdout.readline()

            def connects():
                command = [*network.prefix(0), sys.executable, "-c", CONNECT]
                return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0

            network.change(groups=[(0,), (1,)])
            assert not connects()
            assert network.change()["cut"] > 0
            network.change(loss=1.0)
            assert not connects()
            assert network.change()["lost"] > 0
            assert connects()
            name = network.prefix(0)[-1]
            assert name in subprocess.run(["ip", "netns"], check=True, capture_output=True, text=True).stdout
    assert name not in subprocess.run(["ip", "netns"], check=True, capture_output=True, text=True).stdout
