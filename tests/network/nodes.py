"""Nodes for tests: quick to give up, and with every warning an error."""

from bench import node_process
from bench.node_process import eventually
from tests.cli.process import child_environment

__all__ = ["ENVIRONMENT", "NodeProcess", "eventually"]

# libp2p imports a module of websockets that is deprecated.
ENVIRONMENT = {"PYTHONWARNINGS": "error,ignore::DeprecationWarning"}
LIMITS = {"step_seconds": 1, "sync_seconds": 0.5, "exchange_bytes": 2**20, "ban_seconds": 60}


class NodeProcess(node_process.NodeProcess):
    """A node of a test."""

    def __init__(self, folder, peers=(), environment=None, **limits):
        environment = child_environment({**ENVIRONMENT, **(environment or {})})
        super().__init__(folder, peers, limits={**LIMITS, **limits}, environment=environment)
