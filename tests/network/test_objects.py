"""Models by streams between real nodes: whole or not at all, from where they broke off, whatever peers send."""

import contextlib
import gc
import hashlib
import os
import random
import shutil
import subprocess
import sys
import warnings

import pytest

pytest.importorskip("multiaddr", reason="needs zenso[network]")

import trio

from tests.cli.process import SCRIPT, child_environment
from tests.network.nodes import ENVIRONMENT, eventually
from zenso.errors import InputError
from zenso.models import cache_folder, fetch, locate, lookup, verify

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # libp2p imports a module of websockets that is deprecated
    from tests.network.hostile import transport
from zenso.network.channel import Channel
from zenso.network.objects import (
    CHUNK_BYTES,
    MOST_BYTES,
    PROTOCOL,
    QUESTION_BYTES,
    ObjectMissingError,
    ObjectServer,
    Part,
    Reply,
    ask,
    fetch_object,
)
from zenso.network.peers import PeerFault
from zenso.network.shared_models import SharedModels

MODEL = lookup("all-MiniLM-L6-v2")
TOKENIZER = next(file for file in MODEL.files if file.name == "tokenizer.json")
WEIGHTS = next(file for file in MODEL.files if file.name == "model.safetensors")
LESSON = "Bread needs flour, water, salt and time."
NOBODY = "http://127.0.0.1:9"  # nobody listens on the discard port


@pytest.fixture(scope="module")
def holder(start_node):
    """A node with a model, that gives it slowly enough to be interrupted."""
    fetch(MODEL)
    return start_node(object_bytes_per_second=50e6, step_seconds=10)


@pytest.fixture
def elsewhere(tmp_path):
    """The environment of a machine that has no model and reaches no source of any."""
    return {
        "ZENSO_CACHE": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{NOBODY}/simple",
        "PIP_RETRIES": "0",
        "HF_ENDPOINT": NOBODY,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
    }


@pytest.fixture
def without_tokenizer(elsewhere, tmp_path):
    """The same, where only the tokenizer is missing, and pip is not tried, which takes two seconds."""
    folder = tmp_path / "cache" / "models" / MODEL.name
    shutil.copytree(cache_folder(MODEL), folder, copy_function=os.link)
    for name in (TOKENIZER.name, "verified.json", "model.zenso"):
        (folder / name).unlink()
    return {**elsewhere, "ZENSO_OFFLINE": "1"}


def test_a_machine_that_reaches_no_hub_starts_a_node_from_its_peer(holder, start_node, elsewhere, tmp_path):
    submitted = holder.ask("submit", text=LESSON)["id"]
    part = tmp_path / "cache" / "models" / MODEL.name / ".incoming" / f"{WEIGHTS.sha256}.part"
    node = start_node(holder, environment=elsewhere, step_seconds=10)
    eventually(lambda: part.exists() and part.stat().st_size > WEIGHTS.size // 4)
    assert node.status()["model"]["what"] == WEIGHTS.name
    node.kill()
    here, sent = part.stat().st_size, holder.status()["counts"]["object_bytes_sent"]
    assert here < WEIGHTS.size
    node.start()
    eventually(lambda: node.status()["model"]["loaded"])
    window = 32 * 2**20  # what may have been on its way when it was killed
    assert holder.status()["counts"]["object_bytes_sent"] - sent < MODEL.size - here + window
    assert fetch_here(elsewhere, "models", "verify", MODEL.name).returncode == 0

    # Neither was blamed while one of them could not judge, and what it missed came when it could.
    eventually(lambda: node.digest() == holder.digest())
    assert not node.status()["refused"]
    assert not holder.status()["refused"]
    eventually(lambda: [one["id"] for one in node.ask("search", query="bread")["experiences"]] == [submitted])
    mine = node.ask("submit", text="A retry without a limit brings a busy server down.")["id"]
    eventually(lambda: mine in [one["id"] for one in holder.ask("search", query="retries")["experiences"]])


def test_peers_that_send_wrong_bytes_or_none_are_counted_and_another_serves(start_node, holder, without_tokenizer):
    node = start_node(environment=without_tokenizer)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.network.hostile_objects", node.address, str(TOKENIZER.size)],
        env=child_environment({**ENVIRONMENT, "PYTHONPATH": ":".join(sys.path)}),
    ) as hostile:
        try:
            eventually(lambda: {"object", "stalled", "oversized"} <= node.status()["refused"].keys())
            eventually(lambda: node.status()["refused"]["object"] >= 3)
            assert not node.status()["model"]["loaded"]
            start_node(node)
            eventually(lambda: node.status()["model"]["loaded"])
        finally:
            hostile.kill()
    assert sum(peer["refused"].get("object", 0) for peer in node.ask("peers")) >= 3


def test_a_node_that_finds_its_model_nowhere_says_so_and_goes_on(start_node, without_tokenizer):
    node = start_node(environment=without_tokenizer)
    refused = fetch_here(without_tokenizer, "node", "fetch", "gemma-3-270m", "--node", node.folder)
    assert refused.returncode == 1
    assert refused.stderr.endswith("cannot be had from peers: no peer is connected\n")
    problem = eventually(lambda: node.status()["model"]["problem"])
    assert f"{TOKENIZER.name} cannot be had from peers" in problem
    with pytest.raises(InputError, match="the node has no model yet"):
        node.ask("submit", text=LESSON)
    with pytest.raises(InputError, match="the node has no model yet"):
        node.ask("search", query="bread")
    assert node.stop() == 0


def test_the_command_fetches_with_a_running_node_and_without(holder, start_node, without_tokenizer, tmp_path):
    folder = tmp_path / "cache" / "models" / MODEL.name
    os.link(cache_folder(MODEL) / "model.zenso", folder / "model.zenso")  # with which a node can start
    node = start_node(holder, environment=without_tokenizer)
    for running in (True, False):
        if not running:
            node.stop()
            (folder / TOKENIZER.name).unlink()
        done = fetch_here(without_tokenizer, "node", "fetch", MODEL.model_id, "--node", node.folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{MODEL.name}: 3 files")
        assert hashlib.sha256((folder / TOKENIZER.name).read_bytes()).hexdigest() == TOKENIZER.sha256


def fetch_here(environment, *arguments):
    """Run a command on the machine that reaches nobody."""
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env=child_environment({**ENVIRONMENT, **environment}),
        capture_output=True,
        text=True,
        check=False,
    )


# One object, in this process


CONTENT = random.Random(1).randbytes(3 * CHUNK_BYTES + 1000)
DIGEST = hashlib.sha256(CONTENT).digest()


class OneObject:
    """A store."""

    def __init__(self, path):
        self.path = path

    def find(self, digest):
        return self.path if digest == DIGEST else None


class Asker:
    """Who asks one answering host after the other, and what it counted against whom."""

    def __init__(self, peer, names):
        self.peer, self.names = peer, names
        self.faults = []

    def connected(self):
        return self.peer.peers

    async def open(self, peer, protocol):
        return await self.peer.open(peer, protocol)

    async def fault(self, peer, reason):
        self.faults.append((self.names[peer], reason))


@contextlib.asynccontextmanager
async def asker(**answers):
    """Hosts that answer, and one that is connected with them."""
    async with contextlib.AsyncExitStack() as stack:
        names, peer = {}, transport(os.urandom(32))
        await stack.enter_async_context(peer.running())
        for name, answer in answers.items():
            host = transport(os.urandom(32))
            await stack.enter_async_context(host.running())
            host.handle(PROTOCOL, handler(answer))
            assert await peer.connect(host.addresses[0])
            names[host.id] = name
        yield Asker(peer, names)


def run(main):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # libp2p leaves the sockets of its connections to the collector
        trio.run(main)
        gc.collect()


def handler(answer):
    async def handle(stream):
        channel = Channel(stream, QUESTION_BYTES, MOST_BYTES, 5)
        with contextlib.suppress(PeerFault):
            await answer(channel)
        await channel.reset()

    return handle


@pytest.fixture
def server(tmp_path):
    (tmp_path / "object").write_bytes(CONTENT)
    return ObjectServer(OneObject(tmp_path / "object"), at_once=1, bytes_per_second=1e9, seconds=60)


@pytest.fixture
def part(tmp_path):
    with Part(tmp_path / "part", DIGEST, len(CONTENT)) as made:
        yield made


async def first_half_of_another(channel):
    """Bytes of something else, and then away."""
    offset = int.from_bytes((await channel.receive())[-8:], "big")
    await channel.send(b"S" + len(CONTENT).to_bytes(8, "big"))
    if offset == 0:
        await channel.send(b"C" + bytes(CHUNK_BYTES))
    await channel.close()
    await trio.sleep(0.2)


def test_what_is_here_is_not_sent_again(server, part, tmp_path):
    part.append(CONTENT[:1000], "before")
    lengths = []

    async def main():
        async with asker(honest=server.answer) as peers:
            await fetch_object(peers, part, lengths.append, 5)
            assert peers.faults == []

    run(main)
    assert part.move(tmp_path / "whole").read_bytes() == CONTENT
    assert lengths == sorted(lengths)
    assert server.counts == {"objects_sent": 1, "object_bytes_sent": len(CONTENT) - 1000}


def test_bytes_of_several_tell_nothing_about_any_of_them(server, tmp_path):
    (tmp_path / "part").write_bytes(b"another object")

    async def main():
        with Part(tmp_path / "part", DIGEST, len(CONTENT)) as part:
            async with asker(honest=server.answer) as peers:
                await fetch_object(peers, part, lambda _: None, 5)
                assert peers.faults == []
            assert part.is_right

    run(main)


def test_who_leaves_again_and_again_holds_up_nobody(server, part):
    async def main():
        async with asker(honest=server.answer, fickle=first_half_of_another) as peers:
            await fetch_object(peers, part, lambda _: None, 5)
            assert set(peers.faults) <= {("fickle", "left")}

    run(main)
    assert part.is_right


def test_one_is_answered_at_a_time_and_nothing_else_than_what_may_be_had(server, part, tmp_path, monkeypatch):
    monkeypatch.setattr("zenso.network.objects._CONNECTING_SECONDS", 0.1)
    other = Part(tmp_path / "other", hashlib.sha256(b"secret").digest(), len(CONTENT))

    async def main():
        async with asker(honest=server.answer) as peers:
            (peer,) = peers.connected()

            async def reply(part):
                channel = Channel(await peers.open(peer, PROTOCOL), 1 + CHUNK_BYTES, 2**30, 5)
                answered = await ask(channel, part, lambda _: None)
                await channel.close()
                return answered

            stalled = Channel(await peers.open(peer, PROTOCOL), 1 + CHUNK_BYTES, 2**30, 5)
            server._per_second = 1  # so that it is not done before the next asks
            await stalled.send(b"O" + DIGEST + bytes(8))
            await stalled.receive()
            assert await reply(part) is Reply.BUSY
            await stalled.reset()
            server._answering.clear()
            assert await reply(other) is Reply.NOT_HELD
            with pytest.raises(ObjectMissingError, match="1 does not hold it"):
                await fetch_object(peers, other, lambda _: None, 5)

    with other:
        run(main)


def test_only_verified_files_of_the_catalogue_are_given(monkeypatch, tmp_path):
    folder = tmp_path / "models" / MODEL.name
    source = fetch(MODEL)
    monkeypatch.setenv("ZENSO_CACHE", str(tmp_path))
    folder.mkdir(parents=True)
    for name in ("config.json", TOKENIZER.name):
        shutil.copy(source / name, folder)
    (folder / "secret").write_bytes(b"secret")
    shared, digest = SharedModels(), bytes.fromhex(TOKENIZER.sha256)
    assert shared.find(digest) is None  # nobody has verified it
    verify(MODEL)
    assert shared.find(digest) is None  # nor does that remember it
    assert locate(MODEL) is None
    assert shared.find(digest) == folder / TOKENIZER.name
    assert shared.find(hashlib.sha256(b"secret").digest()) is None
    assert shared.find(bytes.fromhex(WEIGHTS.sha256)) is None
    (folder / TOKENIZER.name).write_bytes(b"x")
    assert shared.find(digest) is None
