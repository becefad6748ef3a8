import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenso.rerank.calibration import FROM_CODE, FROM_TEXT


@pytest.mark.parametrize("curve", [FROM_TEXT, FROM_CODE])
@given(one=st.floats(-3, 3), other=st.floats(-3, 3))
def test_scores_rise_with_the_evidence(curve, one, other):
    low, high = sorted((one, other))
    assert 0 <= curve.score(low) <= curve.score(high) <= 1


@pytest.mark.parametrize("curve", [FROM_TEXT, FROM_CODE])
def test_half_of_the_candidates_answer_at_the_middle(curve):
    assert curve.score(curve.middle) == 0.5
    assert curve.score(1e9) == 1
    assert curve.score(-1e9) == 0
