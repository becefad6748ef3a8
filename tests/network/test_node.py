"""Real nodes on this machine: records reach all, whoever comes late or dies; hostile peers are refused and counted."""

import json
import subprocess
import sys
import time

import pytest

pytest.importorskip("multiaddr", reason="needs zenso[network]")

from tests.cli.process import child_environment
from tests.network.nodes import ENVIRONMENT, eventually
from zenso.errors import InputError
from zenso.network import Identity, Operation, sign_record
from zenso.network.work import NEWCOMER_BITS

LESSONS = (
    "Bread needs flour, water, salt and time.",
    "A retry without a limit brings a busy server down.",
    "datetime.strptime parses a date from a string.",
)


def agree(*nodes):
    return len({node.digest() for node in nodes}) == 1


def records(node):
    return node.status()["domains"]["general"]["records"]


def experiences(node):
    return node.status()["domains"]["general"]["experiences"]


def test_records_reach_all_nodes_whoever_comes_late_or_dies(start_node):
    first = start_node()
    second = start_node(first)
    eventually(lambda: first.status()["peers"])
    ids = [node.ask("submit", text=text)["id"] for node, text in zip((first, second), LESSONS, strict=False)]
    eventually(lambda: records(first) == records(second) == 2)

    late = start_node(second)  # and finds the first by asking
    eventually(lambda: agree(first, second, late))
    eventually(lambda: len(late.status()["peers"]) == 2)

    third = late.ask("submit", text=LESSONS[2])["id"]
    late.kill()
    first.ask("withdraw", targets=ids[:1])
    late.start()
    eventually(lambda: agree(first, second, late))
    assert {node.status()["domains"]["general"]["experiences"] for node in (first, second, late)} == {2}

    # A record is found a moment after it has come: its text is embedded first.
    eventually(
        lambda: [one["id"] for one in first.ask("search", query="How do I read a date?")["experiences"]][:1] == [third]
    )
    with pytest.raises(InputError, match="duplicate"):
        second.ask("submit", text=LESSONS[2])
    with pytest.raises(InputError, match="does not follow"):
        second.ask("submit", text="x", domain="other")
    assert [node.stop() for node in (first, second, late)] == [0, 0, 0]


def test_a_node_that_nobody_can_find_any_more_finds_the_others(start_node):
    first = start_node()  # knows of nobody, and listens on another port when it is started again
    second = start_node(first)
    eventually((first.folder / "peers.json").exists)
    first.kill()
    submitted = second.ask("submit", text=LESSONS[0])["id"]
    first.start()
    eventually(lambda: submitted in first.ids())


def test_hostile_peers_are_refused_and_counted_and_the_node_stays_well(start_node):
    node = start_node(exchange_bytes=2**17)
    wanted = {"garbage", "malformed", "sender_rate", "sync", "endless", "oversized", "stalled"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.network.hostile", node.address],
        env=child_environment({**ENVIRONMENT, "PYTHONPATH": ":".join(sys.path)}),
        stderr=subprocess.DEVNULL,
    ) as attack:
        try:
            eventually(lambda: wanted <= set(node.status()["refused"]), 90)
            eventually(lambda: node.status()["counts"].get("cut_off", 0) >= 2, 90)
        finally:
            attack.kill()
    status = node.status()
    assert "restarts" not in status["counts"]
    assert any(peer["banned_seconds"] > 0 for peer in node.ask("peers"))

    honest = start_node(node)
    submitted = honest.ask("submit", text=LESSONS[0])["id"]
    eventually(lambda: records(node) == 1)
    found = eventually(lambda: node.ask("search", query="bread")["experiences"])
    assert found[0]["id"] == submitted


def test_wrong_codes_that_slipped_in_are_disputed_by_who_finds_them(start_node, tmp_path, recomputer):
    first = start_node()
    second = start_node(first)
    eventually(lambda: first.status()["peers"])
    wrong = [
        sign_record(
            Identity.generate(),  # so that none is refused for what the one before did
            Operation.ADD,
            "general",
            time.time_ns() // 1_000_000,
            bits=NEWCOMER_BITS,
            confidence=1.0,
            text=f"{said} is all that you need.",
            **recomputer.fields(meant),
        )
        for said, meant in zip(("A cat", "Rain", "Iron", "Chess", "Sleep"), (*LESSONS, "a", "b"), strict=True)
    ]
    plan = {
        "targets": [first.address],
        "peers": [[record.encoded.hex() for record in wrong]],
        "per_second": 20,
        "flood": None,
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with subprocess.Popen(
        [sys.executable, "-m", "bench.hostile_peers", tmp_path / "plan.json"],
        env=child_environment({**ENVIRONMENT, "PYTHONPATH": ":".join(sys.path)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as operator:
        try:
            assert len(json.loads(operator.stdout.readline())) == 1
            operator.stdin.write("\n")
            operator.stdin.flush()
            # Three in four are not drawn: they are passed on, found by the first that indexes them, and disputed.
            eventually(lambda: first.status()["refused"].get("wrong_code") or records(first))
            eventually(
                lambda: records(second) and experiences(first) == experiences(second) == 0 and agree(first, second)
            )
        finally:
            operator.kill()
    assert not any(peer["banned_seconds"] for node in (first, second) for peer in node.ask("peers"))
