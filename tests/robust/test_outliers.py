import numpy as np
import pytest

from bench.attacks import ATTACKS
from zenso.errors import InputError
from zenso.robust import find_outliers


@pytest.mark.parametrize(("n", "d"), [(40, 6), (30, 300)])
def test_scores_are_mahalanobis_distances_by_the_other_rows(n, d):
    """Against the covariance itself, shrunk as Ledoit and Wolf define it, for a row that is far out."""
    rows = np.random.default_rng(n).standard_normal((n, d)) * 0.95 ** np.arange(d)
    rows[0] += 20
    found = find_outliers(rows)
    core = rows[~found.flags]
    centred = core - core.mean(axis=0)
    sample = centred.T @ centred / len(core)
    identity = np.trace(sample) / d * np.eye(d)
    gap = ((sample - identity) ** 2).sum()
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() for row in centred) / len(core) ** 2
    # The last round's core may still have other rows than its flags say; here it has not.
    assert found.shrinkage == pytest.approx(min(noise, gap) / gap, rel=1e-6)
    shrunk = found.shrinkage * identity + (1 - found.shrinkage) * sample
    far = rows[0] - core.mean(axis=0)
    assert found.flags[0]
    assert found.scores[0] == pytest.approx(np.sqrt(far @ np.linalg.solve(shrunk, far)), rel=1e-6)


@pytest.mark.parametrize("kind", ["normal", "correlated"])
@pytest.mark.parametrize(("n", "d"), [(60, 400), (60, 5), (200, 50)])
def test_false_alarms_are_about_as_many_as_stated(n, d, kind):
    random = np.random.default_rng(d)
    shares = []
    for _ in range(20):
        rows = random.standard_normal((n, d))
        if kind == "correlated":
            rows *= 1 / np.sqrt(1 + np.arange(d))
        shares.append(find_outliers(rows, false_alarms=0.05).flags.mean())
    assert 0.02 < np.mean(shares) < 0.1


@pytest.mark.parametrize("attack", ["random", "large_norm", "sign_flip"])
def test_hostile_rows_are_seen_and_honest_ones_are_not(attack):
    honest = np.random.default_rng(7).normal(0, 1, (35, 200)) + 2
    rows = np.concatenate([ATTACKS[attack](honest, 15, np.random.default_rng(1)), honest])
    flags = find_outliers(rows).flags
    assert flags[:15].all()
    assert flags[15:].mean() <= 0.06


def test_rows_without_spread():
    same = np.ones((10, 4), np.float32)
    assert not find_outliers(same).flags.any()
    same[3] = 5
    assert np.flatnonzero(find_outliers(same).flags).tolist() == [3]
    huge = np.random.default_rng(0).standard_normal((12, 5))
    huge[2] = 1e99
    assert find_outliers(huge).flags[2]
    integers = (np.random.default_rng(0).standard_normal((12, 5)) * 1000).astype(np.int16)
    integers[4] = 32767
    assert find_outliers(integers).flags[4]


def test_what_is_refused():
    with pytest.raises(InputError, match="7 rows; give at least 8"):
        find_outliers(np.zeros((7, 3)))
    for share in (0, 0.5, float("nan")):
        with pytest.raises(InputError, match="false_alarms is"):
            find_outliers(np.zeros((9, 3)), false_alarms=share)
