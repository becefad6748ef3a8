import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitdelta import frame_reference as reference
from tests.bitdelta.strategies import BASIS
from zenso.bitdelta import (
    FrameCodebook,
    FrameQuery,
    SlotQuery,
    decode,
    encode,
    prefix,
    prepare_query,
    score,
)
from zenso.bitdelta.frame import score_frames
from zenso.bitdelta.frame_format import GAINS
from zenso.errors import InputError, IntegrityError

SHIPPED = FrameCodebook.shipped()


def directions(count, width, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, width))
    return np.rint(rows / np.linalg.norm(rows, axis=1, keepdims=True) * 32767).astype(np.int16)


def cosines(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def as_lists(book):
    return reference.Book(**{name: getattr(book, name).tolist() for name in reference.Book.__annotations__})


@st.composite
def books_and_vectors(draw):
    """An untrained codebook of a small width, and vectors of every kind that int16 can hold."""
    width = draw(st.integers(1, 19))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    largest = draw(st.sampled_from([0, 1, 5, 300, 32767]))
    rows = rng.integers(-largest, largest + 1, (draw(st.integers(1, 3)), width)).astype(np.int16)
    rows[rng.random(rows.shape) < draw(st.sampled_from([0, 0.5]))] = draw(st.sampled_from([0, 32767, -32768]))
    return FrameCodebook.untrained(width), rows


@given(books_and_vectors(), st.integers(0, 19))
@settings(max_examples=60, deadline=None)
def test_codes_are_those_of_the_reference(case, block):
    book, vectors = case
    size = book.sizes[block]
    codes = encode(vectors, size, book)
    lists = as_lists(book)
    query = vectors[0] >> 2  # at most 65,536 long
    scores = score(FrameQuery.of(query, book), codes)
    decoded = decode(codes, book)
    for row, code in enumerate(codes):
        assert code.tobytes() == reference.encode(vectors[row].tolist(), size, lists)
        assert scores[row] == reference.score(query.tolist(), code.tobytes(), lists)
        expected = np.array(reference.decode(code.tobytes(), lists)) / 32767
        np.testing.assert_allclose(decoded[row], expected, rtol=1e-6, atol=1e-6)


@given(books_and_vectors(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_prefix_has_the_bits_of_the_shorter_code(case, data):
    book, vectors = case
    longer = data.draw(st.integers(0, 19))
    shorter = data.draw(st.integers(0, longer))
    codes = encode(vectors, book.sizes[longer], book)
    cut = prefix(codes, book.sizes[shorter], book)
    direct = encode(vectors, book.sizes[shorter], book)
    assert np.array_equal(np.delete(cut, 3, axis=1), np.delete(direct, 3, axis=1))
    if shorter == longer:
        assert np.array_equal(cut, codes)
    lists = as_lists(book)
    assert cut[0].tobytes() == reference.prefix(codes[0].tobytes(), book.sizes[shorter], lists)


def test_every_block_brings_the_vectors_nearer():
    vectors = directions(50, 384)
    for book, longest in (
        (FrameCodebook.untrained(384), 0.9999999),
        (SHIPPED, 0.95),
    ):  # random vectors are not what it learned
        codes = encode(vectors, book.sizes[-1], book)
        reached = [cosines(decode(prefix(codes, size, book), book), vectors).mean() for size in book.sizes[:12]]
        assert reached == sorted(reached)
        assert cosines(decode(codes, book), vectors).min() > longest


def test_prefixes_of_the_shipped_codebook_are_as_good_as_codes():
    vectors = directions(100, 384)
    longest = encode(vectors, 964, SHIPPED)
    for size in (52, 148, 484):
        cut, direct = prefix(longest, size, SHIPPED), encode(vectors, size, SHIPPED)
        assert np.array_equal(cut[:, 4:], direct[:, 4:])
        assert np.abs(cosines(decode(cut, SHIPPED), vectors) - cosines(decode(direct, SHIPPED), vectors)).max() < 0.005
        assert np.isfinite(decode(longest[:, :size], SHIPPED)).all()  # cut without a correction: valid as well


@pytest.mark.parametrize("width", [1, 2, 7, 64, 100, 1000])
def test_any_width_and_length(width):
    book = FrameCodebook.untrained(width)
    assert book.sizes[0] == 4 + -(-width // 8)
    assert len(book.sizes) == 20
    vectors = directions(20, width)
    assert cosines(decode(encode(vectors, book.sizes[-1], book), book), vectors).mean() > 0.995
    small = (vectors // 64).astype(np.int16)
    small[:, 0] |= 1  # not zero
    decoded = decode(encode(small, book.sizes[-1], book), book)
    assert cosines(decoded, small).mean() > 0.99
    lengths = np.linalg.norm(decoded * 32767, axis=1) / np.linalg.norm(small.astype(float), axis=1)
    assert 0.9 < lengths.min() <= lengths.max() < 1.1


def test_the_largest_width():
    book = FrameCodebook.untrained(4096)
    assert book.sizes[0] == 516
    extreme = np.full((1, 4096), -32768, np.int16)
    vectors = np.concatenate([directions(1, 4096), extreme])
    assert cosines(decode(encode(vectors, 2564, book), book), vectors).min() > 0.99


def test_the_zero_vector():
    book = FrameCodebook.untrained(24)
    codes = encode(np.zeros((2, 24), np.int16), 7, book)
    assert np.abs(decode(codes, book)).max() < 1e-3
    assert codes[0].tolist() == codes[1].tolist()


def test_scores_follow_the_dot_product_of_what_is_decoded():
    vectors, query = directions(300, 384), directions(1, 384, seed=1)[0]
    for size in (52, 244, 964):
        codes = encode(vectors, size, SHIPPED)
        exact = decode(codes, SHIPPED).astype(np.float64) @ query.astype(np.float64) * 32767
        assert np.abs(score(FrameQuery.of(query, SHIPPED), codes) - exact).max() < 2e-6 * 32767**2


def test_threads_and_memory_layout_change_nothing():
    vectors = directions(1100, 384)
    alone = encode(vectors, 100, SHIPPED)
    query = FrameQuery.of(vectors[5], SHIPPED)
    scores = score(query, alone)
    for threads in (2, 3, 8):
        assert np.array_equal(encode(vectors, 100, SHIPPED, threads=threads), alone)
        assert np.array_equal(score_frames(query, alone, threads=threads), scores)
    assert np.array_equal(encode(vectors[::-1], 100, SHIPPED), alone[::-1])
    wide = np.zeros((1100, 400), np.uint8)
    wide[:, 7:107] = alone
    assert np.array_equal(score(query, wide[:, 7:107]), scores)
    results = {}
    workers = [
        threading.Thread(target=lambda n=n: results.update({n: encode(vectors, 100, SHIPPED, threads=2)}))
        for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(result, alone) for result in results.values())
    assert len(results) == 4


def test_no_rows():
    codes = encode(np.empty((0, 384), np.int16), 52, SHIPPED)
    assert codes.shape == (0, 52)
    assert decode(codes, SHIPPED).shape == (0, 384)
    assert score(FrameQuery.of(directions(1, 384)[0], SHIPPED), codes).shape == (0,)
    assert prefix(encode(np.empty((0, 384), np.int16), 100, SHIPPED), 52, SHIPPED).shape == (0, 52)


@given(st.binary(min_size=48, max_size=48), st.integers(0, 255), st.integers(0, GAINS - 1), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_any_bits_below_a_valid_header_decode_and_score(bits, correction, gain, base):
    code = np.frombuffer(bytes([0x21, base, gain, correction]) + bits, np.uint8)[None]
    decoded = decode(code, SHIPPED)
    assert np.isfinite(decoded).all()
    query = directions(1, 384)[0]
    exact = float(decoded[0].astype(np.float64) @ query.astype(np.float64)) * 32767
    got = int(score(FrameQuery.of(query, SHIPPED), code)[0])
    assert abs(got - exact) < 2e-5 * max(2.0**30, float(np.linalg.norm(decoded)) * 2.0**30)


@pytest.mark.parametrize(
    ("byte", "value", "named"),
    [
        (0, 0x11, "family 1, version 1"),
        (0, 0x22, "family 2, version 2"),
        (0, 0x31, "family 3"),
        (1, 200, "base row 200"),
        (2, GAINS, f"gain {GAINS}"),
        (2, 255, "gain 255"),
    ],
)
def test_a_damaged_header_is_named(byte, value, named):
    codes = encode(directions(3, 384), 100, SHIPPED)
    codes[2, byte] = value
    query = FrameQuery.of(directions(1, 384)[0], SHIPPED)
    for use in (
        lambda: decode(codes, SHIPPED),
        lambda: score(query, codes),
        lambda: prefix(codes, 52, SHIPPED),
    ):
        with pytest.raises(IntegrityError, match=named):
            use()


@pytest.mark.parametrize(
    "codes",
    [np.zeros((2, 53), np.uint8), np.zeros((2, 52), np.int8), np.zeros(52, np.uint8), np.zeros((2, 3), np.uint8)],
)
def test_codes_of_another_shape_are_refused(codes):
    codes = codes.copy()
    codes.reshape(-1, codes.shape[-1])[:, 0] = 0x21
    for use in (
        lambda: decode(codes, SHIPPED),
        lambda: score(FrameQuery.of(directions(1, 384)[0], SHIPPED), codes),
        lambda: prefix(codes, 52, SHIPPED),
    ):
        with pytest.raises(InputError):
            use()


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((2, 384), np.float32),
        np.zeros((2, 384), np.int32),
        np.zeros((2, 383), np.int16),
        np.zeros(384, np.int16),
    ],
)
def test_other_vectors_are_refused(vectors):
    with pytest.raises(InputError, match="vectors must be int16"):
        encode(vectors, 52, SHIPPED)


def test_other_sizes_threads_and_queries_are_refused():
    vectors = directions(2, 384)
    with pytest.raises(InputError, match=r"53 bytes.*choose among 52, 100, 148"):
        encode(vectors, 53, SHIPPED)
    with pytest.raises(InputError, match="threads is 0"):
        encode(vectors, 52, SHIPPED, threads=0)
    with pytest.raises(InputError, match="cannot be cut to 100"):
        prefix(encode(vectors, 52, SHIPPED), 100, SHIPPED)
    with pytest.raises(InputError, match="a query must be int16"):
        FrameQuery.of(vectors, SHIPPED)
    with pytest.raises(InputError, match="scale it to 65,536"):
        FrameQuery.of(np.full(384, 32767, np.int16), SHIPPED)


def test_score_tells_the_families_apart():
    codes, asked = encode(directions(30, 384), 244, SHIPPED), directions(1, 384)[0]
    tokens = prepare_query(asked[None], np.ones(1, np.uint8), BASIS)
    assert isinstance(tokens, SlotQuery)
    score(tokens, codes)  # 244 bytes may be slots, too
    with pytest.raises(IntegrityError):
        prefix(codes, 1920)
    query = FrameQuery.of(asked, SHIPPED)
    with pytest.raises(InputError, match="dimensions is 1920"):
        score(query, codes, dimensions=1920)


def test_some_rows_only():
    codes, query = encode(directions(30, 384), 52, SHIPPED), FrameQuery.of(directions(1, 384)[0], SHIPPED)
    rows = np.array([29, 3, 3])
    assert np.array_equal(score(query, codes, rows), score(query, codes)[rows])
    assert score(query, codes, rows[:0]).shape == (0,)
    for wrong in (np.array([30]), np.array([-1]), np.array([0.5]), np.array([[1]])):
        with pytest.raises(InputError, match="rows"):
            score(query, codes, wrong)
