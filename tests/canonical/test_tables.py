import math

import numpy as np
import pytest
from blake3 import blake3

from zenso.canonical import tables
from zenso.canonical.tables import STEPS_PER_UNIT, gelu_table

GELU_ENTRIES = 616
GELU_DIGEST = "553c4502bd12603385dfd15498d9b703f4960ce3b57d0723ba5b5c5985ddb45f"


def values_and_steps():
    table = gelu_table()
    return table >> 16, ((table & 0xFFFF) ^ 0x8000) - 0x8000


def tail(u):
    """1 - Phi(u) by the C library."""
    return math.erfc(u / math.sqrt(2)) / 2


@pytest.mark.parametrize("u", [0, 1 / 128, 0.5, 1, 2, 3.25, 4.5])
def test_upper_tail_is_that_of_the_normal_distribution(u):
    assert float(tables._upper_tail(tables.Decimal(u))) == pytest.approx(tail(u), rel=1e-12)


def test_values_are_the_difference_of_relu_and_gelu_rounded():
    values, _ = values_and_steps()
    for index, value in enumerate(values.tolist()):
        u = index / STEPS_PER_UNIT
        assert abs(value - u * tail(u) * 2**17) <= 0.5 + 1e-9
        gelu = u * (1 + math.erf(u / math.sqrt(2))) / 2
        assert value / 2**17 == pytest.approx(u - gelu, abs=2**-18 + 1e-12)


def test_steps_lead_to_the_next_value():
    values, steps = values_and_steps()
    np.testing.assert_array_equal(values[:-1] + steps[:-1], values[1:])
    assert values[0] == values[-1] == steps[-1] == 0
    assert (values[1:-1] > 0).all()  # it ends where it rounds to 0, not before


def test_table_is_pinned():
    table = gelu_table()
    assert table.dtype == np.int32
    digest = blake3(table.astype("<i4").tobytes()).hexdigest()
    assert (len(table), digest) == (GELU_ENTRIES, GELU_DIGEST)
