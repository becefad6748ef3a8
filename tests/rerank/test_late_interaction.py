import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zenso.rerank.late_interaction import BLOCK, PASSAGES, find_evidence


def reference(query, weights, windows):
    """The definition: largest dot products, over a candidate and within every passage that begins at a block."""
    products = [query.astype(np.int64) @ window.astype(np.int64).T for window in windows]
    matches = np.max([table.max(axis=1) for table in products], axis=0)
    totals = []
    for width in PASSAGES:
        starts = [
            int(weights @ table[:, start : start + width].max(axis=1))
            for table in products
            for start in range(0, max(1, BLOCK * -(-table.shape[1] // BLOCK) - width + 1), BLOCK)
        ]
        totals.append(max(starts))
    return matches, tuple(totals)


def directions(rng, count):
    values = rng.standard_normal((count, 384))
    return np.rint(values / np.linalg.norm(values, axis=1, keepdims=True) * 32767).astype(np.int16)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.lists(st.integers(1, 256), min_size=1, max_size=3))
def test_equals_the_definition(seed, asked, lengths):
    rng = np.random.default_rng(seed)
    query, windows = directions(rng, asked), [directions(rng, length) for length in lengths]
    weights = rng.integers(0, 256, asked)
    found = find_evidence(query, weights, windows)
    matches, passages = reference(query, weights, windows)
    assert found.matches.tolist() == matches.tolist()
    assert found.passages == passages
    for token, (window, place) in enumerate(found.places.tolist()):
        assert query[token].astype(np.int64) @ windows[window][place].astype(np.int64) == matches[token]


def test_opposite_directions_at_the_largest_weights():
    one = directions(np.random.default_rng(1), 1)
    query = np.repeat(one, 256, axis=0)
    weights = np.full(256, 255, np.int32)
    length = int(one[0].astype(np.int64) @ one[0].astype(np.int64))
    for sign in (1, -1):
        found = find_evidence(query, weights, [sign * one])
        assert found.matches.tolist() == [sign * length] * 256
        assert found.passages == (sign * 255 * 256 * length,) * 2


def test_what_stands_together_counts_more_than_what_is_scattered():
    rng = np.random.default_rng(2)
    query, other = directions(rng, 4), directions(rng, 100)
    weights = np.full(4, 10, np.int32)
    together, scattered = other.copy(), other.copy()
    together[40:44] = query
    scattered[[0, 30, 60, 90]] = query
    near, far = (find_evidence(query, weights, [window]) for window in (together, scattered))
    assert near.matches.tolist() == far.matches.tolist()
    assert all(one > two for one, two in zip(near.passages, far.passages, strict=True))
    assert near.best[0] == 0
    assert near.best[1] <= 40
    assert near.best[1] + PASSAGES[-1] >= 44


def test_the_order_of_windows_does_not_matter():
    rng = np.random.default_rng(3)
    query, windows = directions(rng, 9), [directions(rng, length) for length in (30, 7, 100)]
    weights = rng.integers(0, 256, 9)
    one, two = find_evidence(query, weights, windows), find_evidence(query, weights, windows[::-1])
    assert one.matches.tolist() == two.matches.tolist()
    assert one.passages == two.passages
