import numpy as np
import pytest

from zenso.errors import InputError
from zenso.zen.ridge import Ridge


def test_a_linear_relation_is_found_in_parts():
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(4, 6)), random.normal(size=4)
    x = random.normal(size=(500, 6)) + 3
    ridge = Ridge(6, 4)
    for part in np.split(x, [100, 130]):
        ridge.add(part, part @ weights.T + bias)
    found, offset = ridge.solve(1e-9)
    assert ridge.rows == 500
    assert np.allclose(found, weights, atol=1e-6)
    assert np.allclose(offset, bias, atol=1e-5)


def test_it_is_the_minimum_of_what_it_minimises():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(40, 5)), random.normal(size=(40, 3))
    ridge = Ridge(5, 3)
    ridge.add(x, y)
    weights, bias = ridge.solve(0.1)
    size = 0.1 * ((x - x.mean(axis=0)) ** 2).sum() / 5

    def loss(w, b):
        return ((y - x @ w.T - b) ** 2).sum() + size * (w**2).sum()

    for _ in range(20):
        step = 1e-3 * random.normal(size=weights.shape)
        assert loss(weights + step, bias) > loss(weights, bias)
        assert loss(weights, bias + 1e-3 * random.normal(size=3)) > loss(weights, bias)


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="0 pairs"):
        Ridge(2, 2).solve(0.1)
    ridge = Ridge(2, 2)
    ridge.add(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(InputError, match="penalty of 0"):
        ridge.solve(0)
    with pytest.raises(InputError, match="all 3 vectors are the same"):
        ridge.solve(0.1)


def test_shapes_that_do_not_fit():
    ridge = Ridge(3, 2)
    for x, y in ((4, 3), (4, 3)), ((4, 4), (4, 2)), ((4, 3), (3, 2)):
        with pytest.raises(InputError, match=r"not \(n, 3\) and \(n, 2\)"):
            ridge.add(np.zeros(x), np.zeros(y))
    assert ridge.rows == 0
