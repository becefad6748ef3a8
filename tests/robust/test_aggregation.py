import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.attacks import ATTACKS
from zenso.errors import InputError
from zenso.robust import RULES, CentredClipping, GeometricMedian, Krum, MultiKrum, aggregate, mix_neighbours

ROBUST = sorted(set(RULES) - {"mean"})
WEIGHTED = sorted(name for name, rule in RULES.items() if rule.takes_weights)

FLOATS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(3, 12), st.integers(1, 5)),
    elements=st.floats(-1000, 1000, width=16),
)
INTEGERS = hnp.arrays(
    np.int16, st.tuples(st.integers(3, 12), st.integers(1, 5)), elements=st.integers(-(1 << 15), (1 << 15) - 1)
)


def report(f, n, d, attack):
    honest = np.random.default_rng(n).normal(0, 1, (n - f, d)) + 3
    hostile = ATTACKS[attack](honest, f, np.random.default_rng(1))
    return honest, np.concatenate([hostile, honest])


@given(st.one_of(FLOATS, INTEGERS), st.sampled_from(ROBUST), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_order_of_rows_says_nothing(rows, rule, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    one, other = aggregate(rows, rule), aggregate(rows[order], rule)
    if "krum" in rule and len(set(one.scores.tolist())) < len(rows):
        return  # ties go to the lower row
    assert one.vector.dtype == rows.dtype
    if rows.dtype == np.int16:
        assert np.array_equal(one.vector, other.vector)
    else:
        np.testing.assert_allclose(one.vector, other.vector, rtol=1e-4, atol=1e-3)


@given(st.one_of(FLOATS, INTEGERS), st.data())
@settings(max_examples=150, deadline=None)
def test_median_and_trimmed_mean_stay_among_honest_numbers(rows, data):
    """Whatever f rows say, each coordinate lies between an honest least and greatest."""
    f = data.draw(st.integers(0, (len(rows) - 1) // 2))
    honest = rows[f:].astype(float)
    weights = data.draw(st.one_of(st.none(), st.just(np.full(len(rows), 3)), st.just(np.r_[0, np.ones(len(rows) - 1)])))
    weights = None if weights is None else weights.astype(int)
    if weights is not None and 2 * np.sort(weights)[::-1][:f].sum() >= weights.sum():
        return
    for rule in ("median", "trimmed_mean"):
        found = aggregate(rows, rule, f=f, weights=weights).vector.astype(float)
        slack = 1e-3 * np.abs(honest).max() if rows.dtype != np.int16 else 0
        assert (found >= honest.min(axis=0) - slack).all()
        assert (found <= honest.max(axis=0) + slack).all()


@given(FLOATS)
@settings(max_examples=100, deadline=None)
def test_median_is_numpys(rows):
    np.testing.assert_allclose(aggregate(rows).vector, np.median(rows.astype(float), axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        aggregate(rows, weights=np.ones(len(rows))).vector, np.median(rows.astype(float), axis=0), rtol=1e-6
    )


@given(st.one_of(FLOATS, INTEGERS), st.sampled_from(WEIGHTED), st.data())
@settings(max_examples=150, deadline=None)
def test_a_weight_is_a_row_so_many_times(rows, rule, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any))
    if 2 * max(weights) >= sum(weights):
        return
    by_weight = aggregate(rows, rule, f=0, weights=weights).vector.astype(float)
    if rule == "centred_clipping":  # its radius is a median over rows, so it is given here
        rule = CentredClipping(radius=100)
        by_weight = aggregate(rows, rule, f=0, weights=weights).vector.astype(float)
    by_rows = aggregate(np.repeat(rows, weights, axis=0), rule, f=0).vector.astype(float)
    if rule == "geometric_median":
        # What is least, not where: it may be the same all along a line.
        def cost(point):
            return float((np.linalg.norm(rows.astype(float) - point, axis=1) * weights).sum())

        assert cost(by_weight) == pytest.approx(cost(by_rows), rel=1e-2, abs=2 * sum(weights))
    else:
        np.testing.assert_allclose(by_weight, by_rows, rtol=1e-5, atol=1e-3 if rows.dtype != np.int16 else 0)


def test_trimming_by_weight_cuts_what_the_heaviest_rows_have():
    rows = np.array([[-900.0], [1.0], [2.0], [3.0], [4.0]])
    # Of weight 7 the heaviest row has 2, so 2 are cut at either end.
    found = aggregate(rows, "trimmed_mean", f=1, weights=[2, 1, 1, 1, 2]).vector
    assert found == pytest.approx([2.0])
    with pytest.raises(InputError, match="1 heaviest of 3 rows have half of all weight"):
        aggregate(rows[:3], weights=[2, 1, 1], f=1)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_three_hostile_rows_of_ten_move_no_rule_far(rule, attack, mix, exact):
    honest, rows = report(3, 10, 40, attack)
    mean, spread = honest.mean(axis=0), np.linalg.norm(honest - honest.mean(axis=0), axis=1).max()
    scale = 1.0
    if exact:
        scale = 1000.0
        rows = np.clip(rows * scale, -32768, 32767).astype(np.int16)
    found = aggregate(rows, rule, f=3, mix=mix)
    assert np.linalg.norm(found.vector / scale - mean) < 2.5 * spread
    if attack in ("random", "large_norm") and not mix:
        assert "krum" not in rule or min(found.selected) >= 3


@pytest.mark.parametrize("rule", ROBUST)
def test_beyond_the_bound_a_rule_breaks_and_so_refuses(rule):
    """A majority that agrees has its way, which is why the rules refuse it."""
    honest, rows = report(7, 10, 20, "large_norm")
    for f in (5, 7):
        with pytest.raises(InputError, match=rf"10 rows with f = {f}; {rule} needs n >= 2f"):
            aggregate(rows, rule, f=f)
    assert np.linalg.norm(aggregate(rows, rule, f=3).vector - honest.mean(axis=0)) > 1e5


def test_one_row_moves_the_mean_so_it_stands_none():
    with pytest.raises(InputError, match="mean needs f = 0"):
        aggregate(np.zeros((9, 2)), "mean", f=1)
    assert aggregate([[1.0, 2.0], [3.0, 6.0]], "mean").vector.tolist() == [2, 4]
    assert aggregate([[1.0, 2.0], [3.0, 6.0]], "mean", weights=[3, 1]).vector.tolist() == [1.5, 3]


def test_geometric_median_is_where_the_pulls_cancel():
    rows = np.random.default_rng(0).standard_normal((15, 6))
    found = aggregate(rows, "geometric_median").vector
    gaps = rows - found
    assert np.linalg.norm((gaps / np.linalg.norm(gaps, axis=1, keepdims=True)).sum(axis=0)) < 1e-6
    exact = aggregate(np.rint(rows * 5000).astype(np.int16), "geometric_median").vector
    assert np.abs(exact / 5000 - found).max() < 1e-3
    same = aggregate(np.ones((5, 3)), "geometric_median")
    assert same.vector.tolist() == [1, 1, 1]


def test_krum_by_its_definition():
    rows = np.random.default_rng(3).standard_normal((11, 4))
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    expected = np.sort(squares, axis=1)[:, 1 : 11 - 3 - 2 + 1].sum(axis=1)
    found = aggregate(rows, "krum", f=3)
    np.testing.assert_allclose(found.scores, expected)
    assert found.selected.tolist() == [expected.argmin()]
    assert np.array_equal(found.vector, rows[expected.argmin()])
    several = aggregate(rows, MultiKrum(keep=4), f=3)
    assert several.selected.tolist() == sorted(np.argsort(expected)[:4].tolist())
    np.testing.assert_allclose(several.vector, rows[several.selected].mean(axis=0))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1, 1e12, 1e25])
def test_distances_of_any_size_in_float32(scale):
    rows = np.random.default_rng(8).standard_normal((11, 40))
    expected = aggregate(rows, "krum", f=3)
    found = aggregate((rows * scale).astype(np.float32), "krum", f=3)
    np.testing.assert_allclose(found.scores, expected.scores * scale**2, rtol=1e-5)
    one = aggregate(np.zeros((3, 2), np.float32), "krum")
    assert one.scores.tolist() == [0, 0, 0]


def test_mixing_by_its_definition():
    rows = np.random.default_rng(4).standard_normal((9, 3))
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    expected = rows[np.argsort(squares, axis=1)[:, :7]].mean(axis=1)
    np.testing.assert_allclose(mix_neighbours(rows, 2), expected)
    found = aggregate(rows, "median", f=2, mix=True)
    np.testing.assert_allclose(found.vector, np.median(expected, axis=0))
    with pytest.raises(InputError, match="9 rows with f = 5; mixing needs n >= 2f"):
        mix_neighbours(rows, 5)


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_threads_change_nothing(rule, kind):
    rows = (np.random.default_rng(5).standard_normal((9, 1500)) * 1000).astype(kind)
    one, many = (aggregate(rows, rule, threads=threads).vector for threads in (1, 4))
    assert np.array_equal(one, many)


@pytest.mark.parametrize(
    ("vectors", "arguments", "message"),
    [
        (np.zeros(4), {}, r"shape \(4,\)"),
        (np.zeros((3, 0)), {}, r"shape \(3, 0\)"),
        (np.zeros((0, 3)), {}, "0 rows"),
        ([[1.0, 2.0], [3.0]], {}, "not of one length"),
        (np.zeros((3, 2), np.int64), {}, "vectors of int64"),
        (np.zeros((3, 2), complex), {}, "vectors of complex"),
        (np.array([[1, np.nan], [0, 0]]), {}, "row 0 holds NaN"),
        (np.array([[1, 0], [0, -np.inf], [np.inf, 0]], np.float32), {}, "row 1 holds NaN.*as 1 other"),
        (np.array([[1e101]]), {}, "row 0 holds"),
        (np.array([[1, 2], [np.nan, 0]]), {"rule": "mean"}, "row 1 holds NaN"),
        (np.array([[np.inf, 2], [-np.inf, 0]], np.float32), {"rule": "mean", "weights": [0, 1]}, "row 0 holds NaN"),
        (np.array([[1.7e308], [1.7e308]]), {"rule": "mean"}, "row 0 holds"),
        (np.zeros((2, 1 << 17), np.int16), {}, "exact form takes"),
        (np.zeros((3, 2)), {"rule": "average"}, "no rule 'average'"),
        (np.zeros((3, 2)), {"f": -1}, "f is -1"),
        (np.zeros((2, 2)), {"rule": "krum"}, "2 rows with f = 0; krum needs n >= 2f \\+ 3 = 3"),
        (np.zeros((3, 2)), {"threads": 0}, "0 threads"),
        (np.zeros((3, 2)), {"weights": [1, 1]}, "for 3 rows"),
        (np.zeros((3, 2)), {"weights": [1, -1, 1]}, "negative"),
        (np.zeros((3, 2)), {"weights": [1, np.nan, 1]}, "not finite"),
        (np.zeros((3, 2)), {"weights": [0, 0, 0]}, "all zero"),
        (np.zeros((3, 2)), {"weights": [5, 1, 1], "f": 1}, "1 heaviest of 3"),
        (np.zeros((3, 2)), {"weights": [1, 1, 1], "rule": "krum"}, "krum has no weighted form"),
        (np.zeros((3, 2)), {"weights": [1, 1, 1], "mix": True}, "mixing has no weighted form"),
        (np.zeros((3, 2), np.int16), {"weights": [0.5, 1, 1]}, "must be integers"),
        (np.zeros((3, 2), np.int16), {"weights": [1 << 20, 1, 1]}, "sum to"),
        (np.zeros((3, 2), np.int16), {"rule": GeometricMedian(smoothing=2)}, "smooths distances below 1"),
        (np.zeros((3, 2), np.int16), {"rule": CentredClipping(radius=1.5)}, "whole number"),
        (np.zeros((3, 2), np.int16), {"rule": CentredClipping(start=[0, 0])}, "begins at the coordinate median"),
        (np.zeros((3, 2)), {"rule": CentredClipping(start=[0, 0, 0])}, "as many as a row has"),
        (np.zeros((3, 2)), {"rule": CentredClipping(radius=-1)}, "radius is -1"),
        (np.zeros((3, 2)), {"rule": GeometricMedian(iterations=0)}, "iterations is 0"),
        (np.zeros((5, 2)), {"rule": Krum(neighbours=5)}, "5 neighbours of 5 rows"),
        (np.zeros((5, 2)), {"rule": MultiKrum(keep=5), "f": 1}, "give 1 to 4"),
    ],
)
def test_what_is_refused(vectors, arguments, message):
    with pytest.raises(InputError, match=message):
        aggregate(vectors, **arguments)
