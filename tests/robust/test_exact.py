"""The integer form against the same definitions in Python's integers and fractions."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zenso.robust import RULES, CentredClipping, aggregate, mix_neighbours

ROWS = hnp.arrays(
    np.int16,
    st.tuples(st.integers(3, 9), st.integers(1, 4)),
    elements=st.one_of(st.integers(-(1 << 15), (1 << 15) - 1), st.sampled_from([-32768, 32767, 0, 1])),
)


def divided(numerator, divisor):
    return round(Fraction(numerator, divisor))  # to the nearest, halves to even


def columns(rows):
    return [sorted(column) for column in zip(*rows.tolist(), strict=True)]


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def middle(rows):
    """Twice the median of each column."""
    return [column[(len(column) - 1) // 2] + column[len(column) // 2] for column in columns(rows)]


def mean(rows, divisor=None):
    return [divided(sum(column), divisor or len(rows)) for column in zip(*rows, strict=True)]


def geometric_median(rows):
    centre = [32 * number for number in middle(rows)]
    points = [[64 * number for number in row] for row in rows.tolist()]
    shift = 40 - len(points).bit_length()
    for _ in range(100):
        distances = [max(64, isqrt(squared(point, centre))) for point in points]
        counts = [(min(distances) << shift) // distance for distance in distances]
        pulls = [
            sum(count * (point[c] - centre[c]) for count, point in zip(counts, points, strict=True))
            for c in range(len(centre))
        ]
        centre = [x + divided(pull, sum(counts)) for x, pull in zip(centre, pulls, strict=True)]
    return [divided(x, 64) for x in centre]


def clipping(rows, radius):
    centre = [32 * number for number in middle(rows)]
    points = [[64 * number for number in row] for row in rows.tolist()]
    shift = 40 - len(points).bit_length()
    for _ in range(10):
        distances = [isqrt(squared(point, centre)) for point in points]
        if radius is None:
            radius = sorted(distances)[(len(points) - 1) // 2]
        counts = [(radius << shift) // max(distance, radius, 1) for distance in distances]
        pulls = [
            sum(count * (point[c] - centre[c]) for count, point in zip(counts, points, strict=True))
            for c in range(len(centre))
        ]
        centre = [x + divided(pull, len(points) << shift) for x, pull in zip(centre, pulls, strict=True)]
    return [divided(x, 64) for x in centre]


def scores(rows, f):
    plain = rows.tolist()
    return [sum(sorted(squared(a, b) for b in plain)[1 : len(plain) - f - 1]) for a in plain]


@given(ROWS, st.data())
@settings(max_examples=200, deadline=None)
def test_every_rule_is_its_definition(rows, data):
    n, plain = len(rows), rows.tolist()
    f = data.draw(st.integers(0, (n - 3) // 2))
    assert aggregate(rows, "mean").vector.tolist() == mean(plain)
    assert aggregate(rows, "median").vector.tolist() == [divided(number, 2) for number in middle(rows)]
    cut = [column[f : n - f] for column in columns(rows)]
    assert aggregate(rows, "trimmed_mean", f=f).vector.tolist() == [divided(sum(c), len(c)) for c in cut]
    assert aggregate(rows, "geometric_median").vector.tolist() == geometric_median(rows)
    assert aggregate(rows, "centred_clipping").vector.tolist() == clipping(rows, None)
    assert aggregate(rows, CentredClipping(radius=50)).vector.tolist() == clipping(rows, 50 * 64)
    expected = scores(rows, f)
    best = sorted(range(n), key=lambda row: (expected[row], row))
    krum = aggregate(rows, "krum", f=f)
    assert krum.scores.tolist() == expected
    assert krum.vector.tolist() == plain[best[0]]
    several = aggregate(rows, "multi_krum", f=f)
    assert several.selected.tolist() == sorted(best[: n - f])
    assert several.vector.tolist() == mean([plain[row] for row in best[: n - f]])
    near = [sorted(range(n), key=lambda other, row=row: (squared(plain[row], plain[other]), other)) for row in range(n)]
    assert mix_neighbours(rows, f).tolist() == [mean([plain[row] for row in order[: n - f]]) for order in near]


def test_the_largest_numbers_do_not_overflow():
    rows = np.empty((9, 1 << 16), np.int16)
    rows[::2], rows[1::2] = 32767, -32768
    for name in RULES:
        found = aggregate(rows, name)
        assert found.exact
        assert len(np.unique(found.vector)) == 1
    far = (1 << 16) * 65535**2
    # With f = 0 the nearest 7 of a row are its like, 4 or 3, and 3 or 4 of the others.
    assert aggregate(rows, "krum", f=0).scores.tolist() == [3 * far, 4 * far] * 4 + [3 * far]
    weights = np.full(9, (1 << 20) // 9)
    assert aggregate(rows, weights=weights).vector[0] == 32767
    assert aggregate(rows, "mean", weights=weights).vector[0] == divided(5 * 32767 - 4 * 32768, 9)


@pytest.mark.parametrize(
    ("rule", "digest"),
    [
        ("mean", "aaaa6298d1d054d6"),
        ("median", "8e74b8203cc8f159"),
        ("trimmed_mean", "b0c664756b8084a2"),
        ("geometric_median", "48dd69fbf6a518b6"),
        ("krum", "f0687371ee497502"),
        ("multi_krum", "5243209c7b1bc0fb"),
        ("centred_clipping", "68b68686b08796f3"),
    ],
)
def test_the_bits_are_pinned(rule, digest):
    rows = (np.arange(25 * 300, dtype=np.int64) ** 2 * 2654435761 % 65521 - 32760).astype(np.int16).reshape(25, 300)
    some = 0 if rule == "mean" else 5
    found = np.concatenate([aggregate(rows, rule).vector, aggregate(rows, rule, f=some).vector])
    assert blake3(found.astype("<i2").tobytes()).hexdigest()[:16] == digest
