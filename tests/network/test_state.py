import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from zenso.network.dag_cbor import CID_PREFIX
from zenso.network.records import LESSONS, Operation
from zenso.network.state import Entry, State


def entry(number, operation=Operation.ADD, targets=(), creator=0, domain="coding", at=0, vote=0):
    return Entry(cid(number), operation, domain, bytes([creator]) * 32, at, tuple(map(cid, targets)), vote)


def cid(number):
    return CID_PREFIX + hashlib.sha256(str(number).encode()).digest()


def state_of(*entries):
    state = State()
    for one in entries:
        state.add(one)
    return state


@st.composite
def histories(draw):
    """Records that name earlier ones, as content ids do; some are never delivered."""
    made = []
    for number in range(draw(st.integers(1, 14))):
        operation = draw(st.sampled_from(list(Operation))) if number else Operation.ADD
        targets = draw(st.sets(st.integers(0, number - 1), min_size=1, max_size=3)) if number else ()
        targets = () if operation is Operation.ADD else targets
        creator, domain = draw(st.sampled_from([0, 0, 0, 1])), draw(st.sampled_from(["coding", "coding", "law"]))
        vote = draw(st.sampled_from([-1, 1])) if operation is Operation.VOTE else 0
        made.append(entry(number, operation, targets, creator, domain, draw(st.integers(0, 2)), vote))
    return made, draw(st.sets(st.integers(0, len(made) - 1), max_size=2))


def view(state):
    domains = ("coding", "law")
    return (
        {domain: set(state.lessons(domain)) for domain in domains},
        {one: state.votes(one) for domain in domains for one in state.ids(domain)},
        {one: set(state.disputers(domain, one)) for domain in domains for one in state.ids(domain)},
        {domain: state.digest(domain) for domain in domains},
        state.domains(),
    )


def plain_view(entries, wrong):
    """What stands by the rules as they are written, from the whole set at once."""
    known = {one.id: one for one in entries if one.id not in wrong}

    def owned(one, target):
        to = known.get(target)
        return to is not None and to.operation in LESSONS and (one.domain, one.creator) == (to.domain, to.creator)

    def replacing(one):
        return one.operation in (Operation.MODIFY, Operation.MERGE)

    named = {
        target
        for one in known.values()
        if one.operation is Operation.DELETE
        for target in one.targets
        if owned(one, target)
    }

    def deleted(one):
        return one.id in named or (
            replacing(one) and any(deleted(known[target]) for target in one.targets if owned(one, target))
        )

    def replaced(lesson):
        return any(
            replacing(one)
            and lesson.id in one.targets
            and owned(one, lesson.id)
            and (one.id in named or not deleted(one))
            for one in known.values()
        )

    return {one.id for one in known.values() if one.operation in LESSONS and not deleted(one) and not replaced(one)}


@settings(max_examples=400, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_state(history, random):
    entries, wrong = history
    wrong = {entries[place].id for place in wrong if entries[place].operation in LESSONS}
    straight = state_of(*entries)
    for one in wrong:
        straight.exclude(one)
    deliveries = [*entries, *random.choices(entries, k=5), *wrong, *wrong]
    random.shuffle(deliveries)
    mixed, gone = State(), set()
    for one in deliveries:
        if isinstance(one, bytes):
            mixed.exclude(one)
            gone.add(one)
        elif one.id not in gone:
            mixed.add(one)
    assert view(mixed) == view(straight)
    assert set(mixed.lessons("coding")) | set(mixed.lessons("law")) == plain_view(entries, wrong)


def test_a_modification_takes_the_place_of_its_lesson():
    state = state_of(entry(0), entry(1, Operation.MODIFY, [0]))
    assert state.lessons("coding") == [cid(1)]


def test_delete_wins_over_a_modification_made_at_the_same_time():
    state = state_of(entry(0), entry(1, Operation.DELETE, [0]), entry(2, Operation.MODIFY, [0]))
    assert state.lessons("coding") == []


def test_deleting_the_last_version_does_not_bring_the_first_back():
    chain = [entry(0), entry(1, Operation.MODIFY, [0]), entry(2, Operation.MODIFY, [1])]
    assert state_of(*chain, entry(3, Operation.DELETE, [2])).lessons("coding") == []


def test_what_is_left_of_a_merge_stands_again():
    merged = [entry(0), entry(1), entry(2, Operation.MERGE, [0, 1])]
    assert state_of(*merged).lessons("coding") == [cid(2)]
    assert state_of(*merged, entry(3, Operation.DELETE, [0])).lessons("coding") == [cid(1)]
    assert state_of(*merged, entry(3, Operation.DELETE, [2])).lessons("coding") == []


def test_nobody_changes_what_another_wrote():
    other = [entry(n + 1, op, [0], creator=1) for n, op in enumerate([Operation.DELETE, Operation.MODIFY])]
    assert state_of(entry(0), *other).lessons("coding") == [cid(0), cid(2)]
    elsewhere = entry(1, Operation.DELETE, [0], domain="law")
    assert state_of(entry(0), elsewhere).lessons("coding") == [cid(0)]


def test_the_latest_vote_of_each_key_counts_and_none_of_the_creator():
    votes = [
        entry(1, Operation.VOTE, [0], creator=1, at=5, vote=-1),
        entry(2, Operation.VOTE, [0], creator=1, at=4, vote=1),
        entry(3, Operation.VOTE, [0], creator=2, at=1, vote=1),
        entry(4, Operation.VOTE, [0], creator=0, at=1, vote=1),
    ]
    assert state_of(entry(0), *votes).votes(cid(0)) == {bytes([1]) * 32: -1, bytes([2]) * 32: 1}


def test_a_long_chain_of_modifications_is_no_trouble():
    chain = [entry(0), *(entry(n, Operation.MODIFY, [n - 1]) for n in range(1, 5000))]
    assert state_of(*chain).lessons("coding") == [cid(4999)]
    assert state_of(entry("end", Operation.DELETE, [0]), *reversed(chain)).lessons("coding") == []
