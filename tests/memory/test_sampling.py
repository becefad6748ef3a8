import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenso.errors import InputError
from zenso.memory.sampling import certainty_of, sample_size


def missed(population, bad, drawn):
    return math.comb(population - bad, drawn) / math.comb(population, drawn)


@given(st.integers(1, 300), st.floats(0.01, 0.9999), st.floats(0.001, 1))
def test_the_sample_is_the_smallest_that_is_certain(population, certainty, loss):
    bad = max(1, math.ceil(loss * population - 1e-9))
    drawn = sample_size(population, certainty, loss)
    assert missed(population, bad, drawn) <= 1 - certainty + 1e-9
    assert drawn == 0 or missed(population, bad, drawn - 1) >= 1 - certainty - 1e-9
    assert certainty_of(population, drawn, loss) == pytest.approx(1 - missed(population, bad, drawn))


def test_known_sizes():
    assert sample_size(10**6, 0.999, 0.01) == 688  # with replacement ln .001 / ln .99 = 687.3
    assert sample_size(100, 1, 0.07) == 94  # all but six of the bad rows may stay unseen
    assert sample_size(100, 0.99, 1) == 1
    assert sample_size(0, 0.99, 0.01) == 0
    assert certainty_of(0, 0, 0.01) == certainty_of(5, 5, 0.01) == 1


@pytest.mark.parametrize("bad", [0, -0.1, 1.01, math.nan, math.inf])
def test_shares_outside_their_range(bad):
    with pytest.raises(InputError, match="certainty"):
        sample_size(10, bad, 0.1)
    with pytest.raises(InputError, match="loss"):
        sample_size(10, 0.9, bad)
