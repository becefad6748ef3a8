from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitdelta import reference
from tests.bitdelta.strategies import document_slots, make_slots, query_slots, random_codes, seeds
from zenso.bitdelta import decode_slots, encode_slots, prepare_query, score, top_k
from zenso.bitdelta.rotation import rotate
from zenso.errors import InputError

slow = settings(max_examples=15, deadline=None)
quick = settings(max_examples=50, deadline=None)
LEAST = np.iinfo(np.int64).min


@pytest.fixture(scope="module")
def query():
    return prepare_query(make_slots("random", 5), 20)


@slow
@given(query_slots, document_slots)
def test_score_equals_reference(query, document):
    if not query.any():
        query[0, 0] = 1
    codes = np.concatenate([encode_slots(document[None]), random_codes(2, int(query[0, 0]) & 0xFFFF)])
    expected = [reference.score(query.tolist(), code.tobytes()) for code in codes]
    assert score(prepare_query(query, 1), codes).tolist() == expected


def test_score_at_the_limit_is_exact():
    slots = make_slots("extreme", 2, magnitude=2**40)
    codes = random_codes(3)
    expected = [reference.score(slots.tolist(), code.tobytes()) for code in codes]
    assert score(prepare_query(slots, 1), codes).tolist() == expected


@quick
@given(query_slots)
def test_planes_are_within_a_step_of_the_rotated_query(slots):
    if not slots.any():
        slots[0, 0] = 1
    prepared = prepare_query(slots, 1)
    bits = np.unpackbits(prepared.planes.view(np.uint8), axis=2, bitorder="little").astype(np.int64)
    multiples = 2 * (bits * np.array([1, 2, 4, 8])[None, :, None]).sum(axis=1) - 15
    rotated = rotate(slots[prepared.slots])
    assert np.abs(prepared.steps[:, None] * multiples - rotated).max(axis=1).tolist() <= prepared.steps.tolist()
    assert prepared.slots.tolist() == [slot for slot in range(20) if slots[slot].any()]


def test_score_approximates_the_dot_product_with_decoded_slots():
    query_directions = make_slots("unit directions", 1)
    mixed = [
        make_slots("unit directions", seed) + weight * query_directions for seed, weight in [(2, 0), (3, 1), (4, 3)]
    ]
    codes = encode_slots(
        np.stack([np.rint(m / np.linalg.norm(m, axis=1, keepdims=True) * 32767) for m in mixed]).astype(int)
    )
    header_scale = codes[:, 2] + 256.0 * codes[:, 3]
    exact = (decode_slots(codes) * query_directions).sum(axis=(1, 2)) * 32767 * 384 / header_scale
    scores = score(prepare_query(query_directions, 20), codes)
    assert np.abs(scores - exact).max() < 0.02 * exact.max()
    assert np.array_equal(np.argsort(scores), [0, 1, 2])


def test_similarity_of_a_query_with_itself_is_one():
    slots = make_slots("unit directions", 9)
    prepared = prepare_query(slots, 20)
    scores = score(prepared, encode_slots(np.stack([slots, -slots])))
    assert prepared.similarity(scores) == pytest.approx([1.0, -1.0], abs=0.01)


def test_similarity_is_clipped():
    prepared = prepare_query(make_slots("unit directions", 9), 20)
    assert prepared.similarity(np.array([LEAST, 0, 2**62])).tolist() == [-1.0, 0.0, 1.0]


def test_weight_scales_similarity_only(query):
    slots = make_slots("unit directions", 3)
    once, twice = prepare_query(slots, 20), prepare_query(slots, 40)
    codes = random_codes(4)
    assert np.array_equal(score(once, codes), score(twice, codes))
    assert twice.similarity(score(twice, codes)) == pytest.approx(once.similarity(score(once, codes)) / 2)


@pytest.mark.parametrize("weight", [0, -3])
def test_a_query_without_weight_is_refused(weight):
    with pytest.raises(InputError, match="nothing to compare"):
        prepare_query(make_slots("random", 1), weight)


def test_a_query_of_zeros_is_refused():
    with pytest.raises(InputError, match="all zero"):
        prepare_query(np.zeros((20, 384), np.int64), 5)


@pytest.mark.parametrize("shape", [(20, 383), (19, 384), (1, 20, 384), (7680,)])
def test_query_slots_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"shape \(20, 384\)"):
        prepare_query(np.ones(shape, np.int64), 5)


def test_query_slots_of_floats_are_refused():
    with pytest.raises(InputError, match="float64"):
        prepare_query(np.full((20, 384), 0.5), 5)


@pytest.mark.parametrize("value", [2**40 + 1, -(2**63), 2**63 - 1])
def test_query_slots_too_large_to_score_exactly_are_refused(value):
    slots = np.ones((20, 384), np.int64)
    slots[4, 7] = value
    with pytest.raises(InputError, match=f"magnitude of {abs(value)}"):
        prepare_query(slots, 5)


def ranked(scores, k, allowed):
    return sorted(allowed, key=lambda row: (-scores[row], row))[:k]


@quick
@given(seeds, st.integers(0, 60), st.integers(1, 70), st.booleans(), st.integers(1, 4))
def test_top_k_equals_sorting_everything(seed, count, k, masked, distinct):
    codes = random_codes(distinct, seed)[np.random.default_rng(seed).integers(0, distinct, count)]
    mask = np.random.default_rng(seed + 1).random(count) < 0.5 if masked else None
    prepared = prepare_query(make_slots("random", 5), 20)
    scores = score(prepared, codes).tolist()
    rows, found = top_k(prepared, codes, k, mask)
    assert rows.dtype == found.dtype == np.int64
    assert rows.tolist() == ranked(scores, k, range(count) if mask is None else np.flatnonzero(mask).tolist())
    assert found.tolist() == [scores[row] for row in rows]


def test_equal_scores_come_in_order_of_rows(query):
    codes = np.repeat(random_codes(1), 100, axis=0)
    rows, scores = top_k(query, codes, 7)
    assert rows.tolist() == list(range(7))
    assert len(set(scores.tolist())) == 1


def test_mask_keeps_the_best_out(query):
    codes = random_codes(50)
    best = top_k(query, codes, 1)[0][0]
    mask = np.ones(50, bool)
    mask[best] = False
    rows, _ = top_k(query, codes, 50, mask)
    assert best not in rows
    assert len(rows) == 49


def test_mask_that_allows_nothing(query):
    rows, scores = top_k(query, random_codes(5), 3, np.zeros(5, bool))
    assert rows.tolist() == scores.tolist() == []


def test_no_codes(query):
    empty = np.empty((0, 964), np.uint8)
    assert score(query, empty).tolist() == []
    for mask in (None, np.empty(0, bool)):
        rows, scores = top_k(query, empty, 3, mask)
        assert rows.tolist() == scores.tolist() == []


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(query, k):
    with pytest.raises(InputError, match=f"k is {k}"):
        top_k(query, random_codes(3), k)


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros(964, np.uint8),
        np.zeros((2, 963), np.uint8),
        np.zeros((2, 964), np.int8),
        np.zeros((2, 1, 964), np.uint8),
    ],
)
def test_codes_of_another_shape_or_type_are_refused(query, codes):
    with pytest.raises(InputError, match=r"shape \(n, 964\)"):
        score(query, codes)
    with pytest.raises(InputError, match=r"shape \(n, 964\)"):
        top_k(query, codes, 1)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1)])
def test_mask_of_another_shape_is_refused(query, shape):
    with pytest.raises(InputError, match="for 3 codes"):
        top_k(query, random_codes(3), 1, np.ones(shape, bool))


def test_memory_layout_does_not_matter(query):
    codes = random_codes(33)
    expected = score(query, codes)
    read_only = codes.copy()
    read_only.flags.writeable = False
    shifted = np.frombuffer(b"xyz" + codes.tobytes(), np.uint8)[3:].reshape(codes.shape)
    for layout in (np.asfortranarray(codes), np.repeat(codes, 2, axis=0)[::2], codes[::-1][::-1], read_only, shifted):
        assert np.array_equal(score(query, layout), expected)
        assert np.array_equal(top_k(query, layout, 5)[0], top_k(query, codes, 5)[0])
    assert np.array_equal(score(query, codes[::-1]), expected[::-1])


def test_query_layout_does_not_matter():
    slots = make_slots("random", 6)
    codes = random_codes(5)
    expected = score(prepare_query(slots, 9), codes)
    for layout in (np.asfortranarray(slots), slots.astype(np.int32), np.repeat(slots, 2, axis=1)[:, ::2]):
        assert np.array_equal(score(prepare_query(layout, 9), codes), expected)


def test_threads_give_the_same_scores(query):
    codes = random_codes(2000)
    expected = score(query, codes)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: score(query, codes), range(12)):
            assert np.array_equal(scores, expected)
