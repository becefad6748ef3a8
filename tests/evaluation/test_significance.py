from itertools import product

import numpy as np
import pytest

from zenso.evaluation.significance import interval, p_value


def test_few_queries_try_every_sign():
    differences = np.array([0.5, 0.25, -0.125, 0.3, 0.1, 0.2])
    means = [float(np.mean(differences * signs)) for signs in product((1, -1), repeat=len(differences))]
    expected = np.mean([abs(mean) >= differences.mean() - 1e-12 for mean in means])
    assert p_value(differences) == pytest.approx(expected)


def test_chance_and_effect():
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.2, 400)
    assert p_value(noise - noise.mean()) > 0.9
    assert p_value(noise + 0.1) == pytest.approx(0.0002)
    assert p_value(np.zeros(5)) == 1
    assert p_value(noise) == p_value(noise)


def test_intervals_hold_the_mean_as_often_as_they_say():
    random = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        low, high = interval([random.normal(0.1, 0.3, 100)])
        held += low <= 0.1 <= high
    assert 180 <= held <= 199


def test_several_sets_count_alike_whatever_their_sizes():
    low, high = interval([np.full(1000, 0.2), np.full(3, 0.4)])
    assert (low, high) == pytest.approx((0.3, 0.3))
