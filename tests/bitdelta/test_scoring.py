from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitdelta import reference
from tests.bitdelta.strategies import BASIS, PROJECTION, make_text, random_codes, seeds, texts
from zenso.bitdelta import DIMENSIONS, decode_slots, encode_slots, prefix, prepare_query, scan, score, top_k
from zenso.bitdelta.rotation import rotate
from zenso.errors import InputError

slow = settings(max_examples=15, deadline=None)
quick = settings(max_examples=50, deadline=None)
LENGTHS = dict(zip(DIMENSIONS, (244, 484, 964), strict=True))


def prepare(text, weights=None):
    return prepare_query(text.tokens, text.weights if weights is None else weights, BASIS)


def encode(*given):
    return encode_slots(
        np.stack([text.vector for text in given]),
        [text.tokens for text in given],
        [text.weights for text in given],
        BASIS,
    )


@pytest.fixture(scope="module")
def query():
    return prepare(make_text("random", 5, 6))


@slow
@given(texts, texts, seeds)
def test_scores_equal_reference(asked, document, seed):
    codes = np.concatenate([encode(document), random_codes(2, seed)])
    _, tokens, weights = asked.plain
    prepared = prepare(asked)
    assert scan(prepared, codes).tolist() == [reference.scan(tokens, weights, code.tobytes()) for code in codes]
    for dimensions, length in LENGTHS.items():
        expected = [
            reference.score(tokens, weights, PROJECTION.tolist(), reference.UNITS, reference.prefix(code, length))
            for code in map(bytes, codes)
        ]
        assert score(prepared, codes, dimensions=dimensions).tolist() == expected
        assert score(prepared, prefix(codes, dimensions)).tolist() == expected


@quick
@given(texts)
def test_planes_are_within_a_step_of_the_query(text):
    prepared = prepare(text)
    unit = np.array([1, 2, 4, 8])

    def multiples(planes):
        bits = np.unpackbits(planes.view(np.uint8), axis=-1, bitorder="little").astype(np.int64)
        return 2 * (bits * unit[:, None]).sum(axis=-2) - 15

    rotated = rotate((text.weights @ text.tokens.astype(np.int64))[None])[0]
    assert np.abs(prepared.slot_step * multiples(prepared.slot_planes) - rotated).max() <= prepared.slot_step
    projected = (text.tokens.astype(np.int64) @ PROJECTION.astype(np.int64).T) >> 15
    steps = prepared.token_steps // text.weights
    assert np.abs(steps[:, None] * multiples(prepared.token_planes) - projected).max(axis=1).tolist() <= steps.tolist()


def test_score_approximates_what_decoded_codes_say():
    asked = make_text("random", 1, 8)
    documents = [make_text("random", seed, 30) for seed in range(4)]
    codes = encode(*documents)
    decoded = decode_slots(codes).astype(float)
    bases = np.array([rotate_signs(code) for code in codes])
    slot = (asked.weights @ asked.tokens.astype(float)) @ bases.T
    projected = (asked.tokens.astype(np.int64) @ PROJECTION.astype(np.int64).T) / 32768
    groups = np.sign(decoded[:, 384:]).reshape(4, 57, 128)
    best = np.where(groups.any(axis=2), np.einsum("td,ngd->tng", projected, groups), -np.inf).max(axis=2)
    exact = BASIS.units[2, 0] * slot + BASIS.units[2, 1] * (asked.weights @ best)
    assert np.abs(score(prepare(asked), codes) - exact).max() < 0.03 * np.abs(exact).max()


def rotate_signs(code):
    signs = 2.0 * np.unpackbits(code[4:52], bitorder="little") - 1
    return signs @ np.array(reference.rotation())


def test_a_text_is_more_similar_to_itself_than_to_others():
    known = [make_text("random", seed, 15) for seed in range(6)]
    codes = encode(*known)
    for row, text in enumerate(known):
        prepared = prepare(text)
        for dimensions in DIMENSIONS:
            similarity = prepared.similarity(score(prepared, codes, dimensions=dimensions))
            assert similarity.argmax() == row
            assert np.abs(similarity).max() <= 1


def test_similarity_is_clipped(query):
    assert query.similarity(np.array([np.iinfo(np.int64).min, 0, 2**62])).tolist() == [-1.0, 0.0, 1.0]


def test_tokens_without_weight_are_not_heard():
    text = make_text("random", 9, 6)
    weights = text.weights.copy()
    weights[[1, 4]] = 0
    kept = [0, 2, 3, 5]
    codes = random_codes(20)
    alone = prepare_query(text.tokens[kept], weights[kept], BASIS)
    assert np.array_equal(score(prepare(text, weights), codes), score(alone, codes))
    assert np.array_equal(scan(prepare(text, weights), codes), scan(alone, codes))


def test_codes_without_groups_are_scored_by_slot_zero(query):
    codes = random_codes(4)
    codes[:, 1] = 0
    unit = int(BASIS.units[2, 0])
    assert np.array_equal(reference.SCAN_UNIT * score(query, codes), unit * scan(query, codes))


@pytest.mark.parametrize(
    ("tokens", "weights", "match"),
    [
        (np.zeros((2, 384), np.int16), np.zeros(2, int), "nothing to compare"),
        (np.zeros((0, 384), np.int16), np.zeros(0, int), "nothing to compare"),
        (np.zeros((2, 383), np.int16), np.ones(2, int), r"shape \(m, 384\)"),
        (np.zeros((2, 384)), np.ones(2, int), "float64"),
        (np.zeros((2, 384), np.int16), np.ones(3, int), "2 tokens"),
        (np.zeros((2, 384), np.int16), np.array([1, 256]), "0 to 255"),
        (np.full((2, 384), 2000, np.int16), np.ones(2, int), "squared length"),
    ],
)
def test_queries_that_cannot_be_scored(tokens, weights, match):
    with pytest.raises(InputError, match=match):
        prepare_query(tokens, weights, BASIS)


def ranked(scores, k, allowed):
    return sorted(allowed, key=lambda row: (-scores[row], row))[:k]


@quick
@given(seeds, st.integers(0, 60), st.integers(1, 70), st.booleans(), st.integers(1, 4), st.sampled_from(DIMENSIONS))
def test_top_k_equals_sorting_everything(seed, count, k, masked, distinct, dimensions):
    rng = np.random.default_rng(seed)
    codes = prefix(random_codes(distinct, seed)[rng.integers(0, distinct, count)], dimensions)
    mask = rng.random(count) < 0.5 if masked else None
    prepared = prepare(make_text("random", 5, 3))
    scores = score(prepared, codes).tolist()
    rows, found = top_k(prepared, codes, k, mask)
    assert rows.dtype == found.dtype == np.int64
    assert rows.tolist() == ranked(scores, k, range(count) if mask is None else np.flatnonzero(mask).tolist())
    assert found.tolist() == [scores[row] for row in rows]


@quick
@given(seeds, st.lists(st.integers(0, 29), max_size=40))
def test_chosen_rows_have_the_scores_they_have_among_all(seed, rows):
    codes = random_codes(30, seed)
    prepared = prepare(make_text("random", 5, 3))
    chosen = np.array(rows, np.int32)
    for scorer in (scan, score):
        assert scorer(prepared, codes, chosen).tolist() == scorer(prepared, codes)[chosen].tolist()


@pytest.mark.parametrize("rows", [[-1], [3], [0, 1, 99]])
def test_rows_that_do_not_exist(query, rows):
    for scorer in (scan, score):
        with pytest.raises(InputError, match="but there are 3 codes"):
            scorer(query, random_codes(3), np.array(rows))


@pytest.mark.parametrize("rows", [np.zeros((1, 1), int), np.zeros(2), np.ones(3, bool)])
def test_rows_of_another_shape_or_type(query, rows):
    with pytest.raises(InputError, match="list of whole numbers"):
        score(query, random_codes(3), rows)


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
    assert score(query, empty).tolist() == scan(query, empty).tolist() == []
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
    for scorer in (scan, score, lambda *given: top_k(*given, 1)):
        with pytest.raises(InputError, match=r"shape \(n, 244 or 484 or 964\)"):
            scorer(query, codes)


def test_more_dimensions_than_the_codes_have(query):
    with pytest.raises(InputError, match="codes of 244 bytes have no 3840 dimensions"):
        score(query, prefix(random_codes(2), 1920), dimensions=3840)
    with pytest.raises(InputError, match="no codes of 384 dimensions"):
        score(query, random_codes(2), dimensions=384)


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
    text = make_text("random", 6, 5)
    codes = random_codes(5)
    expected = score(prepare(text), codes)
    for tokens in (np.asfortranarray(text.tokens), np.repeat(text.tokens, 2, axis=1)[:, ::2]):
        assert np.array_equal(score(prepare_query(tokens, text.weights.astype(np.uint8), BASIS), codes), expected)


def test_threads_give_the_same_scores(query):
    codes = random_codes(2000)
    expected = score(query, codes)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: score(query, codes), range(12)):
            assert np.array_equal(scores, expected)
