from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zenso.errors import InputError
from zenso.zen.integer_map import MAX_WIDTH, IntegerMap, directions

INT16 = st.integers(-(2**15), 2**15 - 1)


def direction_in_plain_python(row):
    """What the module's text says, with Python's own integers."""
    largest = max(abs(value) for value in row)
    if not largest:
        return [0] * len(row)
    shift = largest.bit_length() - 24
    cut = [value >> shift if shift > 0 else value << -shift for value in row]
    length = isqrt(sum(value * value for value in cut))
    return [max(-32767, min(32767, (2 * 32767 * value + length) // (2 * length))) for value in cut]


@given(st.lists(st.integers(-(2**46), 2**46), min_size=1, max_size=9))
def test_directions(row):
    assert directions(np.array([row], np.int64))[0].tolist() == direction_in_plain_python(row)


def test_directions_are_as_long_as_they_should_be():
    rows = np.random.default_rng(0).integers(-(2**44), 2**44, (50, 384))
    found = directions(rows).astype(np.float64)
    assert np.abs(found - 32767 * rows / np.linalg.norm(rows, axis=1, keepdims=True)).max() < 0.51


@settings(deadline=None)  # the first call compiles
@given(arrays(np.int16, (3, 5), elements=INT16), arrays(np.int16, (2, 5), elements=INT16))
def test_sums_are_exact(weights, x):
    bias = np.array([2**45, -(2**45), 7])
    found = IntegerMap(weights, bias).sums(x)
    rows = [(row.tolist(), offset) for row, offset in zip(weights, bias.tolist(), strict=True)]
    assert found.tolist() == [
        [offset + sum(w * v for w, v in zip(row, vector, strict=True)) for row, offset in rows] for vector in x.tolist()
    ]


def test_largest_numbers_do_not_overflow():
    lowest = np.full((1, MAX_WIDTH), -(2**15), np.int16)
    assert IntegerMap(lowest, np.array([2**45])).sums(lowest).tolist() == [[2**45 + MAX_WIDTH * 2**30]]


def test_rounding_a_float_map():
    weights, bias = np.array([[0.5, -0.25], [0.125, 1.0]]), np.array([0.0, -0.5])
    rounded = IntegerMap.of(weights, bias)
    assert rounded.weights.tolist() == [[16384, -8192], [4096, 32767]]
    assert rounded.bias.tolist() == [0, -round(0.5 * 32767 * 32767)]
    assert (rounded.inputs, rounded.outputs) == (2, 2)


@pytest.mark.parametrize(
    ("weights", "bias", "named"),
    [
        (np.zeros((2, 2), np.int32), np.zeros(2, np.int64), "int32"),
        (np.zeros(2, np.int16), np.zeros(2, np.int64), "int16"),
        (np.zeros((2, 2), np.int16), np.zeros(3, np.int64), r"\(3,\)"),
        (np.zeros((1, MAX_WIDTH + 1), np.int16), np.zeros(1, np.int64), "4096"),
        (np.zeros((1, 1), np.int16), np.array([2**45 + 1]), "2\\^45"),
    ],
)
def test_maps_that_are_none(weights, bias, named):
    with pytest.raises(InputError, match=named):
        IntegerMap(weights, bias)
