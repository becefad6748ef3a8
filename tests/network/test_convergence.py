"""Two nodes that were apart hold the same when they have exchanged what differs."""

from tests.network.conftest import Node
from zenso.network import Operation, Reconciler

RETRY = "Retry a request that timed out with exponential backoff and jitter."
NEAR = "Retry requests that time out with exponential backoff and some jitter."
LOCK = "Never hold a lock while calling user code."
GEOMETRY = "When solving geometry, check that solutions lie within the bounds."


def synchronise(here, there, domain="coding"):
    """Give each what only the other has, as nodes do; return what was refused."""
    mine, theirs = Reconciler(here.store.ids(domain)), Reconciler(there.store.ids(domain))
    message = mine.begin()
    while message is not None:
        message = mine.advance(theirs.answer(message))
    refused = []
    for giver, taker, digests in ((there, here, mine.missing), (here, there, mine.surplus)):
        for data in giver.store.raw(taker.admission.wanted(sorted(digests))).values():
            verdict = taker.offer(data, synced=True)
            refused += [] if verdict.accepted else [verdict.reason]
    return refused


def test_a_healed_partition_has_one_state_and_loses_nothing(tmp_path, recomputer, clock, alice, bob, carol):
    here, there = (Node(tmp_path / name, recomputer, clock) for name in ("here", "there"))
    shared = here.lesson(alice, RETRY)
    bad = here.lesson(carol, GEOMETRY, **recomputer.fields(LOCK))
    for node in (here, there):
        for record in (shared, bad):
            assert node.offer(record).accepted
    # Apart: one side deletes what the other modifies, each takes one of two near lessons, one disputes the wrong code.
    deleted = here.make(alice, Operation.DELETE, shared)
    modified = there.lesson(alice, NEAR, Operation.MODIFY, targets=[shared.id])
    other = here.lesson(bob, RETRY)
    vote = there.make(bob, Operation.VOTE, modified, vote=1)
    lock = there.lesson(bob, LOCK)
    assert [here.offer(one).accepted for one in (deleted, other, here.make(bob, Operation.DISPUTE, bad))] == [True] * 3
    assert [there.offer(one).accepted for one in (modified, vote, lock)] == [True] * 3
    assert synchronise(here, there) == []
    for node in (here, there):
        assert set(node.store.lessons("coding")) == {other.id, lock.id}
        assert node.admission.is_wrong(bad.id)
    assert here.store.digest("coding") == there.store.digest("coding")
    assert synchronise(here, there) == []
    for node in (here, there):
        node.store.close()


def test_a_node_that_was_away_takes_what_is_old_and_not_what_was_refused_before(
    tmp_path, recomputer, clock, alice, bob
):
    here, there = (Node(tmp_path / name, recomputer, clock) for name in ("here", "there"))
    bad = here.lesson(alice, GEOMETRY, **recomputer.fields("Water tomatoes in the morning."))
    for record in (here.lesson(bob, RETRY), here.lesson(bob, LOCK), bad):
        assert here.offer(record).accepted
    clock.now += 5 * 86_400
    there.admission._random.value = 0.0  # recompute every lesson
    assert synchronise(there, here) == ["wrong_code"]
    assert synchronise(there, here) == []
    assert len(there.store.lessons("coding")) == 2
    dispute = there.make(bob, Operation.DISPUTE, bad)
    assert there.offer(dispute).accepted
    assert synchronise(there, here) == []
    assert here.store.digest("coding") == there.store.digest("coding")
    for node in (here, there):
        node.store.close()
