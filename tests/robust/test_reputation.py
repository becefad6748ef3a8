import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenso.errors import InputError
from zenso.robust import Reputation, outcomes_for
from zenso.robust.reputation import HALF_LIFE, NEWCOMER

DAY = 86400.0
NOW = 1.8e9
OUTCOMES = st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.floats(0.1, 5)), max_size=12)


def after(outcomes, reputation=Reputation()):  # noqa: B008 - frozen
    for days, good, weight in outcomes:
        reputation = reputation.observe(NOW + days * DAY, good=good, weight=weight)
    return reputation


def test_a_newcomer_weighs_nothing_and_earns_it():
    new = Reputation()
    assert new.score(NOW) == NEWCOMER == 0.2
    assert new.standing(NOW) == 0
    for score in (0.5, 0.8, 0.9):
        known = new
        for _ in range(round(outcomes_for(score))):
            known = known.observe(NOW, good=True)
        assert known.score(NOW) == pytest.approx(score)
    assert [outcomes_for(score) for score in (0.1, 0.5, 0.8, 0.9)] == pytest.approx([0, 3, 15, 35])


@given(OUTCOMES, st.randoms(use_true_random=False))
def test_the_order_in_which_outcomes_arrive_says_nothing(outcomes, random):
    shuffled = list(outcomes)
    random.shuffle(shuffled)
    one, other = after(outcomes), after(shuffled)
    assert one.score(NOW + 200 * DAY) == pytest.approx(other.score(NOW + 200 * DAY))
    assert one.at == other.at


@given(OUTCOMES, st.booleans())
def test_good_raises_and_bad_lowers(outcomes, good):
    at = NOW + 100 * DAY
    before = after(outcomes)
    score, then = before.score(at), before.observe(at, good=good).score(at)
    assert then > score if good else then < score
    assert 0 < then < 1
    assert 0 <= before.standing(at) <= 1


def test_half_is_forgotten_after_a_half_life():
    known = after([(0, True, 30)])
    assert known.score(NOW) == pytest.approx(31 / 35)
    assert known.score(NOW + HALF_LIFE) == pytest.approx(16 / 20)
    assert after([(0, False, 30)]).score(NOW + 100 * HALF_LIFE) == pytest.approx(NEWCOMER)
    assert Reputation(half_life=DAY).observe(NOW, good=True, weight=2).score(NOW + DAY) == pytest.approx(2 / 6)
    assert known.score(NOW - DAY) == known.score(NOW)


@given(OUTCOMES)
def test_state_survives_json(outcomes):
    known = after(outcomes)
    assert Reputation.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_what_is_refused():
    for at, weight in ((NOW, 0), (NOW, float("inf")), (float("nan"), 1)):
        with pytest.raises(InputError, match="an outcome of weight"):
            Reputation().observe(at, good=True, weight=weight)
    state = Reputation().to_json()
    for wrong in ({}, {**state, "good": -1}, {**state, "half_life": 0}, {**state, "more": 1}, {**state, "at": "x"}):
        with pytest.raises(InputError, match="a reputation of"):
            Reputation.from_json(wrong)
    with pytest.raises(InputError, match="a score of 1"):
        outcomes_for(1)
