import random
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenso.errors import InputError
from zenso.network import reconciliation
from zenso.network.dag_cbor import encode
from zenso.network.reconciliation import (
    MAX_MESSAGE_BYTES,
    MAX_ROUNDS,
    MIN_MESSAGE_BYTES,
    Reconciler,
    SortedIds,
    SyncError,
)

# Few distinct ids, so that sets overlap; many share a long beginning.
IDS = st.integers(0, 2**12 - 1).map(lambda n: bytes(24) + n.to_bytes(8, "big")) | st.binary(min_size=32, max_size=32)


def exchange(mine, theirs, limit=MAX_MESSAGE_BYTES):
    """Run both sides and return what the first learned, the bytes that went over, and the number of rounds."""
    first = Reconciler(mine, max_message_bytes=limit)
    second = Reconciler(theirs, max_message_bytes=limit)
    message, carried, rounds = first.begin(), 0, 0
    while message is not None:
        reply = second.answer(message)
        assert max(len(message), len(reply)) <= limit
        carried += len(message) + len(reply)
        rounds += 1
        message = first.advance(reply)
    return first, carried, rounds


def random_ids(seed, count):
    source = random.Random(seed)
    return {source.randbytes(32) for _ in range(count)}


@settings(max_examples=150, deadline=None)
@given(st.sets(IDS, max_size=300), st.sets(IDS, max_size=300), st.sampled_from([MIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES]))
def test_both_differences_are_found_whatever_the_sets(mine, theirs, limit):
    side, _, _ = exchange(mine, theirs, limit)
    assert side.missing == theirs - mine
    assert side.surplus == mine - theirs


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2500), st.integers(0, 2500), st.integers(0, 2500))
def test_large_sets_converge_in_small_messages(seed, common, here, there):
    shared, mine, theirs = random_ids(seed, common), random_ids(seed + 1, here), random_ids(seed + 2, there)
    side, _, _ = exchange(shared | mine, shared | theirs, 4096)
    assert side.missing == theirs
    assert side.surplus == mine


def test_bytes_grow_with_the_difference_and_not_with_the_set():
    shared = random_ids(0, 50_000)
    carried = [exchange(shared, shared | random_ids(1, count))[1] for count in (0, 1, 10, 100, 1000)]
    assert carried[0] < 100
    assert carried == sorted(carried)
    assert carried[1] < 5_000
    for one, ten_times in pairwise(carried[1:]):
        assert ten_times < 11 * one
    small = exchange(random_ids(0, 1_000), random_ids(0, 1_000) | random_ids(1, 10))[1]
    assert carried[2] < 4 * small  # fifty times the set


def test_ten_thousand_missing_ids_cost_little_more_than_themselves():
    missing = random_ids(1, 10_000)
    shared = random_ids(0, 10_000)
    side, carried, rounds = exchange(shared, shared | missing)
    assert side.missing == missing
    assert carried < 200 * len(missing)  # every range differs; a record has more than a thousand bytes
    assert rounds < 20


UPPER = bytes(31) + b"\x05"
BAD_MESSAGES = {
    "no CBOR": b"\xff\xff",
    "nothing": b"",
    "no list": encode({"a": 1}),
    "no ranges": encode([]),
    "no pair": encode([[b""]]),
    "an end that is text": encode([["", None]]),
    "no end": encode([[UPPER, None]]),
    "ends that fall": encode([[UPPER, None], [bytes(32), None], [b"", None]]),
    "an end twice": encode([[UPPER, None], [UPPER, None], [b"", None]]),
    "a short fingerprint": encode([[b"", bytes(15)]]),
    "a number": encode([[b"", 7]]),
    "ids that fall": encode([[b"", [UPPER, bytes(32)]]]),
    "an id twice": encode([[b"", [UPPER, UPPER]]]),
    "ids of another range": encode([[UPPER, [UPPER]], [b"", None]]),
    "ids of a range before": encode([[UPPER, None], [b"", [bytes(32)]]]),
    "short ids": encode([[b"", [b"abc"]]]),
    "ids that are numbers": encode([[b"", [1, 2]]]),
    "too much": encode([[b"", bytes(MAX_MESSAGE_BYTES)]]),
    "nested without end": b"\x81" * 100_000,
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_garbage_is_refused_on_either_side(name):
    side = Reconciler(random_ids(0, 100))
    with pytest.raises(SyncError):
        side.answer(BAD_MESSAGES[name])
    with pytest.raises(SyncError):
        side.advance(BAD_MESSAGES[name])
    assert not side.missing


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(message):
    with suppress(SyncError):
        assert len(Reconciler(random_ids(0, 100)).answer(message)) <= MAX_MESSAGE_BYTES


def test_a_peer_that_never_agrees_is_left():
    side = Reconciler(random_ids(0, 100))
    side.begin()
    source = random.Random(0)
    for _ in range(MAX_ROUNDS):
        assert side.advance(encode([[b"", source.randbytes(16)]])) is not None
    with pytest.raises(SyncError, match="no end"):
        side.advance(encode([[b"", source.randbytes(16)]]))
    side = Reconciler(random_ids(0, 100))
    for _ in range(MAX_ROUNDS):
        side.answer(encode([[b"", source.randbytes(16)]]))
    with pytest.raises(SyncError, match="no end"):
        side.answer(encode([[b"", source.randbytes(16)]]))


@settings(max_examples=200, deadline=None)
@given(st.sets(IDS, max_size=100), st.dictionaries(IDS, st.booleans(), max_size=30))
def test_sorted_ids_change_as_sets_do(ids, changes):
    changed = SortedIds(ids).changed(changes)
    wanted = sorted(ids.difference(changes).union(one for one, is_in in changes.items() if is_in))
    assert list(changed) == wanted
    assert changed.digest == SortedIds(wanted).digest
    assert all(one in changed for one in wanted)
    assert not any(one in changed for one, is_in in changes.items() if not is_in)
    assert changed[2:7] == wanted[2:7]


def test_what_a_side_learns_in_one_go_is_bounded(monkeypatch):
    monkeypatch.setattr(reconciliation, "MAX_LEARNED", 50)
    mine, theirs = random_ids(0, 1000), random_ids(1, 1000)
    side, _, _ = exchange(mine, theirs, MIN_MESSAGE_BYTES)
    assert 50 <= len(side.missing) < 150
    assert side.missing < theirs
    assert len(exchange(mine, [])[0].surplus) == 50


def test_a_message_of_many_ranges_is_answered_within_the_bound():
    ids = sorted(random_ids(0, 5_000))
    message = encode([*([upper, bytes(16)] for upper in ids[1:4500]), [b"", bytes(16)]])
    assert len(Reconciler(ids).answer(message)) <= MAX_MESSAGE_BYTES


def test_messages_that_hold_nothing_are_not_asked_for():
    with pytest.raises(InputError, match="2048"):
        Reconciler([], max_message_bytes=100)
