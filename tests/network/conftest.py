import contextlib

import pytest

from zenso.network import Admission, Identity, Operation, Recomputer, RecordStore, sign_record
from zenso.zen import load_encoder

BITS = 6  # of work: cheap, and counted all the same
NOW = 1_800_000_000.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Draws:
    """Draws every lesson, or none, to be recomputed."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.fixture(scope="session")
def recomputer():
    """The real model."""
    return Recomputer(load_encoder())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def alice():
    return Identity(bytes([1]) * 32)


@pytest.fixture
def bob():
    return Identity(bytes([2]) * 32)


@pytest.fixture
def carol():
    return Identity(bytes([3]) * 32)


class Node:
    """Store and admission of one node, and records made for it."""

    def __init__(self, folder, recomputer, clock, draw=1.0, own=None):
        self.store = RecordStore(folder / "records.sqlite3")
        self.recomputer, self.clock = recomputer, clock
        self.admission = Admission(
            self.store,
            recomputer,
            ["coding", "law"],
            clock=clock,
            newcomer_bits=BITS,
            random=Draws(draw),
            own=own,
        )

    def lesson(self, identity, text, operation=Operation.ADD, **fields):
        fields = {**self.recomputer.fields(text), "confidence": 0.8, **fields}
        return self.make(identity, operation, text=text, **fields)

    def make(self, identity, operation, *targets, bits=BITS, domain="coding", at=None, **fields):
        at = self.clock.now if at is None else at
        targets = [target.id for target in targets] or fields.pop("targets", ())
        return sign_record(identity, operation, domain, int(at * 1000), bits=bits, targets=targets, **fields)

    def offer(self, record, sender="peer", **options):
        data = record if isinstance(record, bytes) else record.encoded
        return self.admission.offer(data, sender, **options)

    def score(self, identity):
        return self.store.reputation(f"key:{identity.public_key.hex()}").score(self.clock.now)

    def peer_score(self, sender="peer"):
        return self.admission.peer_score(sender)


@pytest.fixture
def node(tmp_path, recomputer, clock):
    """A node that recomputes nothing unless it must."""
    made = Node(tmp_path, recomputer, clock)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def start_node(tmp_path_factory):
    """Start nodes as processes; all of them end with the tests of a module."""
    from tests.network.nodes import NodeProcess  # noqa: PLC0415 - needs zenso[network], as not all tests here do

    with contextlib.ExitStack() as stack:

        def start(*peers, **options):
            node = NodeProcess(tmp_path_factory.mktemp("n") / "n", [peer.address for peer in peers], **options)
            stack.callback(lambda: node.runs and node.kill())
            return node

        yield start
