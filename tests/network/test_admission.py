import json

import pytest

from tests.network.conftest import BITS, NOW, Node
from tests.network.test_records import BAD
from zenso.network import Blame, Inbox, Operation, Reason
from zenso.network.admission import CUT_OFF, HOURLY, MOST_VERIFIED, SENDER_BURST
from zenso.network.work import NEWCOMER_BITS, required_bits
from zenso.robust.reputation import NEWCOMER

RETRY = "Retry a request that timed out with exponential backoff and jitter."
RETRY_AGAIN = "Retry requests that time out with exponential backoff and some jitter."
LOCK = "Never hold a lock while calling user code."
GEOMETRY = "When solving geometry, check that solutions lie within the bounds."


def wrong(node, identity, text, **fields):
    """A lesson with the code of another text."""
    return node.lesson(identity, text, **node.recomputer.fields(GEOMETRY), **fields)


def test_a_good_record_is_stored_and_in_the_state(node, alice):
    record = node.lesson(alice, RETRY)
    verdict = node.offer(record)
    assert verdict.accepted
    assert verdict.record == record
    assert node.store.lessons("coding") == [record.id]
    assert node.store.get(record.id) == record
    assert node.offer(record).reason is Reason.KNOWN
    assert node.peer_score() > NEWCOMER


def test_bytes_that_are_no_record_cost_the_peer_that_sent_them(node, alice):
    data = node.lesson(alice, RETRY).encoded
    assert node.offer(data[:-1]).reason is Reason.MALFORMED
    assert node.offer(data.replace(b"backoff", b"BACKOFF")).reason is Reason.BAD_SIGNATURE
    assert node.peer_score() < NEWCOMER
    assert node.score(alice) == NEWCOMER
    for _ in range(20):
        node.offer(b"garbage")
    assert node.admission.is_cut_off("peer")
    assert node.offer(data).reason is Reason.CUT_OFF
    assert node.offer(data, "another").accepted


@pytest.mark.parametrize("name", BAD)
def test_whatever_is_no_record_is_refused_counted_and_costs_its_peer(node, name):
    data, reason = BAD[name]
    assert node.offer(data).reason is reason
    assert node.admission.outcomes == {reason: 1}
    assert node.peer_score() < NEWCOMER
    assert not node.store.domains()


@pytest.mark.parametrize(
    ("reason", "fields", "options"),
    [
        (Reason.CLOCK_AHEAD, {"at": NOW + 400}, {}),
        (Reason.TOO_OLD, {"at": NOW - 90_000}, {}),
        (Reason.NO_WORK, {"bits": 0}, {}),
        (Reason.OTHER_DOMAIN, {"domain": "cooking"}, {}),
        (Reason.OTHER_MODEL, {"provenance": bytes(32)}, {}),
    ],
)
def test_each_refusal_has_its_reason(node, alice, reason, fields, options):
    made = iter(lambda: node.lesson(alice, RETRY, **fields), None)
    record = next(one for one in made if one.work < BITS or "bits" not in fields)
    verdict = node.offer(record, **options)
    assert (verdict.reason, verdict.accepted) == (reason, False)
    assert verdict.text
    assert not node.store.domains()
    assert (node.peer_score() < NEWCOMER) == (reason.blame is Blame.SENDER)
    assert node.admission.outcomes[reason] == 1


def test_an_old_record_comes_by_synchronisation(node, alice):
    assert node.offer(node.lesson(alice, RETRY, at=NOW - 10 * 86_400), synced=True).accepted


def test_a_key_gets_a_hundred_records_an_hour(node, alice, bob):
    lesson = node.lesson(bob, RETRY)
    node.offer(lesson)
    votes = [node.make(alice, Operation.VOTE, lesson, vote=1, at=NOW + n / 1000) for n in range(HOURLY + 5)]
    reasons = [node.offer(vote).reason for vote in votes]
    assert reasons == [Reason.ACCEPTED] * HOURLY + [Reason.RATE] * 5
    assert node.score(alice) < NEWCOMER
    assert node.offer(node.make(alice, Operation.VOTE, lesson, vote=1, bits=16, at=NOW - 3600)).accepted


def test_what_a_node_refuses_of_its_own_costs_nobody(node, alice, bob):
    lesson = node.lesson(bob, RETRY)
    assert node.offer(lesson, own=True).accepted
    for n in range(HOURLY + 5):
        verdict = node.offer(node.make(alice, Operation.VOTE, lesson, vote=1, at=NOW + n / 1000), own=True)
    assert verdict.reason is Reason.RATE
    assert node.offer(b"garbage", own=True).reason is Reason.MALFORMED
    assert (node.score(alice), node.peer_score()) == (NEWCOMER, NEWCOMER)


def test_a_nonce_is_used_once(node, alice):
    first = node.make(alice, Operation.DELETE, targets=[node.lesson(alice, RETRY).id], bits=0, at=NOW)
    node.store.add(first)
    made = node.make(alice, Operation.DELETE, targets=[node.lesson(alice, LOCK).id])
    replay = made.model_copy(update={"nonce": first.nonce})
    # Sign it anew until the work is enough for the old nonce.
    for millisecond in range(10_000):
        draft = made.model_copy(update={"nonce": first.nonce, "created_at": made.created_at + millisecond})
        if draft.work >= BITS:
            message = b"zenso/experience/1\x00" + draft.seed + first.nonce.to_bytes(8, "little")
            replay = draft.model_copy(update={"signature": alice.sign(message)})
            break
    assert node.offer(replay).reason is Reason.REPLAYED_NONCE
    assert node.admission.outcomes[Reason.REPLAYED_NONCE] == 1
    assert node.score(alice) < NEWCOMER


def test_a_peer_that_sends_too_fast_is_refused_before_anything_is_read(node):
    reasons = [node.offer(b"", "fast").reason for _ in range(3)]
    assert reasons == [Reason.MALFORMED] * 3
    for _ in range(SENDER_BURST - 3):
        node.admission._budgets["fast"] = (0.0, NOW)
    assert node.offer(b"", "fast").reason is Reason.SENDER_RATE
    node.clock.now += 1
    assert node.offer(b"", "fast").reason is Reason.MALFORMED


def test_ten_thousand_records_in_a_second_are_not_looked_at(node, alice):
    vote = node.make(alice, Operation.VOTE, targets=[node.lesson(alice, RETRY).id], vote=1)
    for _ in range(10_000):
        node.offer(vote, "fast")
    outcomes = node.admission.outcomes
    assert outcomes[Reason.ACCEPTED] + outcomes[Reason.KNOWN] == SENDER_BURST
    assert set(outcomes) == {Reason.ACCEPTED, Reason.KNOWN, Reason.SENDER_RATE, Reason.CUT_OFF}
    assert node.admission.is_cut_off("fast")


def test_a_full_node_takes_no_lessons_and_blames_nobody(node, alice):
    lesson, other = node.lesson(alice, RETRY), node.lesson(alice, LOCK)
    assert node.offer(lesson).accepted
    node.store._most_bytes = node.store._pragma("page_count") * node.store._pragma("page_size") + 1  # all but full
    verdict = node.offer(other)
    assert verdict.reason is Reason.FULL
    assert "store_bytes" in verdict.text
    assert node.offer(node.make(alice, Operation.DELETE, lesson)).accepted
    assert node.score(alice) == NEWCOMER
    assert node.offer(other, synced=True).reason is Reason.FULL
    assert node.admission.wanted([other.id[-32:]]) == []


def test_a_near_duplicate_is_refused_and_told_what_to_vote_for(node, alice, bob):
    lesson = node.lesson(alice, RETRY)
    assert node.offer(lesson).accepted
    copied = node.lesson(bob, RETRY_AGAIN)
    verdict = node.offer(copied)
    assert verdict.reason is Reason.DUPLICATE
    assert lesson.id_text in verdict.text
    assert node.offer(node.lesson(bob, LOCK)).accepted
    # The other side of a partition may have taken it: then it is here too.
    assert node.offer(copied, synced=True).accepted


def test_a_copy_of_a_newcomer_keeps_no_reputable_key_out_and_earns_nothing(node, alice, bob):
    node.store.observe(f"key:{alice.public_key.hex()}", NOW, good=True, weight=1)
    copied = node.lesson(bob, RETRY_AGAIN)
    assert node.offer(copied).accepted  # first, as its maker knew what would come
    assert node.offer(node.lesson(alice, RETRY)).accepted
    assert node.offer(node.lesson(alice, RETRY_AGAIN)).reason is Reason.DUPLICATE  # the same words
    assert node.offer(node.lesson(bob, RETRY, confidence=0.1)).reason is Reason.DUPLICATE
    assert node.score(bob) == NEWCOMER


def test_right_codes_bring_a_key_only_so_far(tmp_path, recomputer, clock, alice):
    node = Node(tmp_path, recomputer, clock, draw=0.0)
    scores = []
    for text in (RETRY, LOCK, GEOMETRY, "Bread needs time.", "Cats sleep all day.", "Paris is in France."):
        assert node.offer(node.lesson(alice, text)).accepted
        scores.append(node.score(alice))
        clock.now += 1
    assert scores[3] > scores[2]
    assert scores[3] == pytest.approx((1 + MOST_VERIFIED) / (5 + MOST_VERIFIED), abs=1e-5)
    assert scores[-1] == pytest.approx(scores[3], abs=1e-5)
    node.store.close()


def test_the_owner_is_trusted_here(tmp_path, recomputer, clock, alice, bob):
    node = Node(tmp_path, recomputer, clock, own=alice.public_key)
    lesson = node.lesson(bob, RETRY)
    for record in (lesson, node.make(alice, Operation.VOTE, lesson, vote=1)):
        assert node.offer(record).accepted
    assert node.admission.standing(alice.public_key) == 1
    assert node.score(bob) > NEWCOMER
    node.store.close()


def test_a_modification_may_be_near_to_what_it_replaces(node, alice):
    lesson = node.lesson(alice, RETRY)
    node.offer(lesson)
    changed = node.lesson(alice, RETRY_AGAIN, Operation.MODIFY, targets=[lesson.id])
    assert node.offer(changed).accepted
    assert node.store.lessons("coding") == [changed.id]


def test_nobody_deletes_what_another_wrote(node, alice, bob):
    lesson = node.lesson(alice, RETRY)
    node.offer(lesson)
    assert node.offer(node.make(bob, Operation.DELETE, lesson)).reason is Reason.NOT_CREATOR
    assert node.score(bob) < NEWCOMER
    assert node.offer(node.make(alice, Operation.DELETE, lesson)).accepted
    assert node.store.lessons("coding") == []


def test_a_drawn_lesson_with_another_texts_code_is_refused(tmp_path, recomputer, clock, alice):
    node = Node(tmp_path, recomputer, clock, draw=0.0)
    record = wrong(node, alice, RETRY)
    assert node.offer(record).reason is Reason.WRONG_CODE
    assert node.score(alice) < NEWCOMER / 1.9
    assert node.admission.is_wrong(record.id)
    assert node.admission.wanted([record.id[-32:], bytes(32)]) == [b"\x01\x71\x12\x20" + bytes(32)]
    assert node.offer(node.lesson(alice, LOCK, bits=20)).accepted
    assert node.store.recomputed(node.store.lessons("coding")[0]) is True
    node.store.close()


def test_a_dispute_removes_a_wrong_code_everywhere_whatever_comes_first(tmp_path, recomputer, clock, alice, bob):
    first, second = (Node(tmp_path / name, recomputer, clock) for name in ("first", "second"))
    record = wrong(first, alice, RETRY)
    dispute = first.make(bob, Operation.DISPUTE, record)
    assert first.offer(record).accepted
    assert first.offer(dispute).accepted
    assert second.offer(dispute).accepted
    assert second.offer(record).reason is Reason.WRONG_CODE
    for node in (first, second):
        assert node.store.lessons("coding") == []
        assert list(node.store.ids("coding")) == [dispute.id[-32:]]
        assert node.score(alice) < NEWCOMER < node.score(bob)
    assert first.store.digest("coding") == second.store.digest("coding")
    # Offered again it costs nobody anything more.
    before = first.score(alice)
    assert first.offer(record).reason is Reason.KNOWN
    assert first.score(alice) == before
    for node in (first, second):
        node.store.close()


def test_a_false_dispute_costs_the_disputer(node, alice, bob, carol):
    lesson = node.lesson(alice, RETRY)
    node.offer(lesson)
    assert node.offer(node.make(bob, Operation.DISPUTE, lesson)).reason is Reason.FALSE_DISPUTE
    assert node.store.lessons("coding") == [lesson.id]
    assert node.score(bob) < NEWCOMER < node.score(alice)
    early = node.lesson(alice, LOCK, bits=14)
    assert node.offer(node.make(carol, Operation.DISPUTE, early)).accepted
    assert node.offer(early).accepted
    assert node.score(carol) < NEWCOMER


def test_persistent_bad_keys_owe_more_work_and_are_cut_off(tmp_path, recomputer, clock, alice):
    node = Node(tmp_path, recomputer, clock, draw=0.0)
    assert node.admission.required_bits(alice.public_key) == BITS
    assert node.offer(wrong(node, alice, RETRY)).reason is Reason.WRONG_CODE
    assert node.admission.required_bits(alice.public_key) > BITS
    cheap = next(made for made in iter(lambda: wrong(node, alice, LOCK), None) if made.work == BITS)
    assert node.offer(cheap).reason is Reason.LOW_WORK
    for text in (LOCK, RETRY_AGAIN):
        assert node.offer(wrong(node, alice, text, bits=16)).reason is Reason.WRONG_CODE
    assert node.score(alice) < CUT_OFF
    assert node.offer(node.lesson(alice, LOCK, bits=20)).reason is Reason.CUT_OFF
    node.store.close()


def test_votes_of_newcomers_weigh_nothing_and_of_one_key_ever_less(node, alice, bob):
    lessons = [node.lesson(alice, text) for text in (RETRY, LOCK, GEOMETRY)]
    for lesson in lessons:
        node.offer(lesson)
    node.offer(node.make(bob, Operation.VOTE, lessons[0], vote=-1))
    assert node.score(alice) == NEWCOMER
    node.store.observe(f"key:{bob.public_key.hex()}", NOW, good=True, weight=20)
    falls = []
    for vote in [node.make(bob, Operation.VOTE, lesson, vote=-1) for lesson in lessons]:
        before = node.score(alice)
        assert node.offer(vote).accepted
        falls.append(before - node.score(alice))
    assert falls[0] == 0  # not the first vote on this lesson
    assert falls[1] > falls[2] > 0


def test_work_rises_as_reputation_falls():
    owed = [required_bits(score) for score in (1.0, NEWCOMER, 0.1, 0.06, 1e-30)]
    assert owed == sorted(owed)
    assert owed[:2] == [NEWCOMER_BITS] * 2
    assert owed[2] == NEWCOMER_BITS + 3


def test_outcomes_survive_a_restart(tmp_path, recomputer, clock, alice, bob):
    node = Node(tmp_path, recomputer, clock, draw=0.0)
    bad, good = wrong(node, alice, RETRY), node.lesson(bob, LOCK)
    node.offer(bad)
    node.offer(good)
    before = node.score(alice), node.score(bob), node.peer_score()
    node.store.close()
    again = Node(tmp_path, recomputer, clock)
    assert (again.score(alice), again.score(bob), again.peer_score()) == before
    assert again.admission.is_wrong(bad.id)
    assert again.offer(good).reason is Reason.KNOWN
    again.store.close()


def test_a_full_inbox_sheds_the_least_reputable_and_serves_the_most_reputable(node):
    inbox = Inbox(node.admission, capacity=4)
    node.admission.blame_peer("bad")
    node.store.observe("peer:good", NOW, good=True, weight=3)
    assert [inbox.put(b"%d" % n, "bad") for n in range(3)] == [None] * 3
    assert inbox.put(b"a", "new") is None
    assert inbox.put(b"b", "good") == (b"2", "bad")
    assert inbox.put(b"9", "bad") == (b"9", "bad")
    assert [inbox.take() for _ in range(2)] == [(b"b", "good"), (b"a", "new")]
    assert inbox.take() == (b"0", "bad")
    assert len(inbox) == 1


def test_peers_of_equal_reputation_take_turns(node):
    inbox = Inbox(node.admission)
    for sender in ("a", "a", "b"):
        inbox.put(b"", sender)
    assert [inbox.take().sender for _ in range(3)] == ["a", "b", "a"]
    assert inbox.take() is None


def test_json_form_and_schema_agree(node, alice):
    record = node.lesson(alice, RETRY)
    shown = json.loads(record.model_dump_json())
    schema = type(record).model_json_schema(mode="serialization")
    assert set(shown) == set(schema["properties"]) == set(type(record).model_fields)
    assert shown["code"] == record.code.hex()
