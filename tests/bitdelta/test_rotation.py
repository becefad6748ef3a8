import numpy as np
from hypothesis import given, settings

from tests.bitdelta import reference
from tests.bitdelta.strategies import seeds
from zenso.bitdelta.rotation import FLIPS, paley_matrix, rotate, rotate_back

MATRIX = np.array(reference.rotation())


def test_hadamard_rows_are_orthogonal():
    matrix = np.array(reference.hadamard())
    assert np.array_equal(matrix @ matrix.T, 384 * np.eye(384))
    assert np.array_equal(paley_matrix(), reference.paley())
    assert FLIPS.tolist() == reference.flips()


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_rotation_equals_the_matrix(seed):
    wide = np.random.default_rng(seed).integers(-(2**53), 2**53, (3, 384))  # the largest magnitudes that are promised
    assert np.array_equal(rotate(wide), wide @ MATRIX.T)
    assert np.array_equal(rotate_back(wide), wide @ MATRIX)


def test_rotating_back():
    rows = np.random.default_rng(1).integers(-1000, 1000, (2, 384))
    assert np.array_equal(rotate_back(rotate(rows)), 384 * rows)
