import numpy as np
import pytest

from tests.bitdelta.strategies import PROJECTION
from zenso.bitdelta import SlotBasis
from zenso.errors import InputError

UNITS = np.array([[53, 1800], [53, 4500], [53, 7200]], np.int32)


def test_what_it_holds():
    basis = SlotBasis(PROJECTION, 53, UNITS)
    assert (basis.projection is PROJECTION, basis.share, basis.units is UNITS) == (True, 53, True)


@pytest.mark.parametrize(
    ("projection", "match"),
    [
        (PROJECTION[:127], r"int16 \(128, 384\)"),
        (PROJECTION.astype(np.int32), "int32"),
        (np.full((128, 384), 840, np.int16), "squared length 270950400"),
    ],
)
def test_projections_that_could_overflow(projection, match):
    with pytest.raises(InputError, match=match):
        SlotBasis(projection, 53, UNITS)


@pytest.mark.parametrize("share", [-1, 54])
def test_shares_beyond_half(share):
    with pytest.raises(InputError, match=f"share of slot 0 is {share}"):
        SlotBasis(PROJECTION, share, UNITS)


@pytest.mark.parametrize(
    ("units", "match"),
    [
        (UNITS.astype(np.int64), "int64"),
        (UNITS[:2], r"\(2, 2\)"),
        (UNITS - 53, "0 to 7147"),
        (UNITS * 10, "530 to 72000"),
    ],
)
def test_units_that_could_overflow(units, match):
    with pytest.raises(InputError, match=match):
        SlotBasis(PROJECTION, 53, units)
