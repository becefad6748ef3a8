from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zenso.memory.fusion import fuse, share

rankings = st.lists(st.lists(st.text("abc", max_size=3), unique=True, max_size=20), max_size=3)


@given(rankings)
def test_order_is_that_of_exact_fractions(given_rankings):
    exact = {}
    for ranking in given_rankings:
        for place, row in enumerate(ranking, start=1):
            exact[row] = exact.get(row, 0) + Fraction(1, 60 + place)
    fused = fuse(given_rankings)
    assert {row for row, _ in fused} == set(exact)
    for (row, points), (later, fewer) in pairwise(fused):
        assert (-points, row) < (-fewer, later)
        assert exact[row] >= exact[later] - Fraction(1, 2**30)


def test_a_document_that_is_first_everywhere_has_all_the_points():
    (best, points), (_, fewer) = fuse([["7", "3"], ["7"]])
    assert (best, share(points, 2)) == ("7", 1.0)
    assert 0 < share(fewer, 2) < 0.5  # second in one of two rankings


def test_two_good_places_are_worth_more_than_the_best_one():
    assert [name for name, _ in fuse(["xbc", "9b8"])] == ["b", "9", "x", "8", "c"]


def test_nothing_to_fuse():
    assert fuse([]) == fuse([[], []]) == []
