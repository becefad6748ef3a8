import math
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenso.canonical import normalise, quantise
from zenso.canonical.soft_float import Operation, soft_f64
from zenso.errors import InputError

CASES = int(os.environ.get("ZENSO_SOFT_FLOAT_CASES", "400000"))  # for each operation; 10000000 takes minutes
NAN64, NAN32 = 0x7FF8 << 48, 0x7FC00000
EDGES = [
    0x0000000000000000,
    0x0000000000000001,
    0x0000000000000002,
    0x000FFFFFFFFFFFFF,
    0x0010000000000000,
    0x0010000000000001,
    0x3690000000000000,  # half the smallest binary32 subnormal
    0x3690000000000001,
    0x36A0000000000000,
    0x380FFFFFF0000000,  # just below the smallest binary32 normal
    0x3FEFFFFFFFFFFFFF,
    0x3FF0000000000000,
    0x3FF0000000000001,
    0x4330000000000000,
    0x433FFFFFFFFFFFFF,
    0x47EFFFFFE0000000,  # the largest binary32 number
    0x47EFFFFFF0000000,  # half way to what would come next
    0x7FEFFFFFFFFFFFFF,
    0x7FF0000000000000,
    0x7FF0000000000001,
    0x7FF8000000000000,
]


def numbers(rng, count):
    """Bits of every kind: uniform, near one, subnormal, few bits, edges, and neighbours of powers of two."""
    edges = np.array([*EDGES, *(edge | 1 << 63 for edge in EDGES)], np.uint64)
    bits = rng.integers(0, 2**64, count, dtype=np.uint64)
    sign_and_fraction = bits & np.uint64(0x800FFFFFFFFFFFFF)
    exponent = (rng.integers(-60, 60, count) + 1023).astype(np.uint64) << np.uint64(52)
    cut = rng.integers(0, 52, count).astype(np.uint64)
    neighbours = ((bits >> np.uint64(3) & np.uint64(0x7FF)) << np.uint64(52)) + (bits & np.uint64(3)) - np.uint64(1)
    kinds = [
        bits,
        sign_and_fraction | exponent,
        sign_and_fraction,
        bits >> cut << cut,
        edges[rng.integers(0, len(edges), count)],
        neighbours,
    ]
    return np.choose(rng.integers(0, len(kinds), count), kinds).astype(np.uint64)


def pairs(seed, count):
    """Pairs, some of them alike or nearly opposite, where sums cancel."""
    rng = np.random.default_rng(seed)
    a, b = numbers(rng, count), numbers(rng, count)
    little = rng.integers(0, 16, count).astype(np.uint64)
    opposite = a ^ np.uint64(1 << 63) ^ little
    return a, np.choose(rng.integers(0, 3, count), [b, a ^ little, opposite]).astype(np.uint64)


def bits_of(values):
    bits = values.view(np.uint64).copy()
    bits[np.isnan(values)] = NAN64
    return bits


@pytest.mark.parametrize(
    ("operation", "hardware"),
    [
        (Operation.ADD, np.add),
        (Operation.MULTIPLY, np.multiply),
        (Operation.DIVIDE, np.divide),
        (Operation.SQUARE_ROOT, lambda a, _: np.sqrt(a)),
    ],
)
def test_operations_equal_hardware_bit_for_bit(operation, hardware):
    a, b = pairs(int(operation), CASES)
    with np.errstate(all="ignore"):
        expected = bits_of(hardware(a.view(np.float64), b.view(np.float64)))
    np.testing.assert_array_equal(soft_f64(operation, a, b), expected)


def test_conversions_equal_hardware_bit_for_bit():
    a, _ = pairs(9, CASES)
    with np.errstate(all="ignore"):
        narrow = a.view(np.float64).astype(np.float32)
    expected = np.where(np.isnan(narrow), NAN32, narrow.view(np.uint32)).astype(np.uint64)
    np.testing.assert_array_equal(soft_f64(Operation.TO_BINARY32, a), expected)
    singles = np.concatenate([np.arange(1000), a >> np.uint64(32)]).astype(np.uint32)
    with np.errstate(all="ignore"):
        wide = bits_of(singles.view(np.float32).astype(np.float64))
    np.testing.assert_array_equal(soft_f64(Operation.FROM_BINARY32, singles.astype(np.uint64)), wide)


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**50), max_value=2.0**50), min_size=1
    )
)
def test_normalise_is_the_documents_formula(values):
    vector = np.array(values, np.float32)
    total = 0.0
    for value in vector.astype(np.float64).tolist():
        total += value * value
    norm = math.sqrt(total)
    with np.errstate(under="ignore"):
        expected = (vector.astype(np.float64) / norm).astype(np.float32) if norm else vector
    np.testing.assert_array_equal(normalise(vector), expected)


def expected_unit(value):
    """Round to nearest, with the dead zone of 2^-16 around k + 1/2, in exact fractions."""
    scaled = abs(Fraction(float(value))) * 32767
    whole = math.floor(scaled)
    magnitude = whole + (scaled - whole > Fraction(1, 2) + Fraction(1, 65536))
    return math.copysign(min(magnitude, 32767), value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_quantise_has_the_documents_dead_zone(value):
    assert quantise(np.array([value], np.float32))[0] == expected_unit(value)


def test_quantise_around_every_kind_of_half():
    halves = (np.arange(-400, 400) + 0.5) / 32767
    values = np.concatenate([halves, halves + 2.0**-16 / 32767, halves - 2.0**-16 / 32767, [0, 1, -1, 2, -2]])
    values = values.astype(np.float32)
    np.testing.assert_array_equal(quantise(values), [expected_unit(value) for value in values])
    exact_half = np.array([0.5 / 32767], np.float32)
    assert quantise(exact_half)[0] == 0, "a tie, or nearly one, goes to the smaller magnitude"


def test_rows_are_treated_one_by_one():
    rows = np.random.default_rng(0).standard_normal((3, 384)).astype(np.float32)
    np.testing.assert_array_equal(normalise(rows), [normalise(row) for row in rows])
    np.testing.assert_array_equal(quantise(normalise(rows)), [quantise(normalise(row)) for row in rows])


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [[[1.0]]], []])
@pytest.mark.parametrize("function", [normalise, quantise])
def test_what_is_no_vector_is_refused(function, bad):
    with pytest.raises(InputError):
        function(np.array(bad, np.float32))
