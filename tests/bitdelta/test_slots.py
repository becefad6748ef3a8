from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings

from tests.bitdelta import reference
from tests.bitdelta.strategies import BASIS, PROJECTION, make_text, texts
from zenso.bitdelta import CODE_BYTES, decode_slots, encode_slots, prefix, read_header, slot_bits
from zenso.errors import InputError, IntegrityError

slow = settings(max_examples=15, deadline=None)


def encode(*given, spread=map):
    vectors = np.stack([text.vector for text in given])
    return encode_slots(
        vectors, [text.tokens for text in given], [text.weights for text in given], BASIS, spread=spread
    )


@pytest.fixture(scope="module")
def mixed():
    return [make_text(kind, 7, count) for kind, count in [("random", 4), ("alike", 90), ("zero", 2), ("random", 70)]]


@slow
@given(texts)
def test_codes_equal_reference(text):
    assert encode(text)[0].tobytes() == reference.encode(*text.plain, PROJECTION.tolist(), BASIS.share)


@slow
@given(texts)
def test_decoding_equals_reference(text):
    code = encode(text)
    for dimensions in (1920, 3840, 7680):
        short = prefix(code, dimensions)
        assert decode_slots(short)[0].tolist() == reference.decode(short[0].tobytes())


def test_many_at_once_are_the_same_as_one_by_one(mixed):
    together = encode(*mixed)
    assert np.array_equal(together, np.concatenate([encode(text) for text in mixed]))
    assert len({code.tobytes() for code in together}) == len(mixed)


def test_threads_make_no_difference(mixed):
    with ThreadPoolExecutor(3) as pool:
        assert np.array_equal(encode(*mixed * 5, spread=pool.map), encode(*mixed * 5))


def test_no_documents():
    empty = np.empty((0, 384), np.int16)
    assert encode_slots(empty, [], [], BASIS).shape == (0, CODE_BYTES)
    assert decode_slots(np.empty((0, CODE_BYTES), np.uint8)).shape == (0, 7680)


def test_slot_bits_are_those_in_the_code(mixed):
    vectors = np.stack([text.vector for text in mixed])
    assert np.array_equal(slot_bits(vectors), encode(*mixed)[:, 4:52])


def test_memory_layout_and_type_do_not_matter(mixed):
    text = mixed[1]
    wide = np.zeros((180, 768), np.int16)
    wide[::2, ::2] = text.tokens
    expected = encode(text)
    for tokens in (wide[::2, ::2], np.asfortranarray(text.tokens)):
        found = encode_slots(text.vector[None].astype(np.int32), [tokens], [text.weights.astype(np.uint8)], BASIS)
        assert np.array_equal(found, expected)
    assert np.array_equal(decode_slots(np.repeat(expected, 2, axis=1)[:, ::2]), decode_slots(expected))


@pytest.mark.parametrize(("dimensions", "length", "room"), [(1920, 244, 12), (3840, 484, 27), (7680, 964, 57)])
def test_prefixes_are_codes(mixed, dimensions, length, room):
    codes = encode(*mixed)
    short = prefix(codes, dimensions)
    assert short.shape == (len(mixed), length)
    assert np.array_equal(short[:, 2:], codes[:, 2:length])
    for long_code, code in zip(codes, short, strict=True):
        assert read_header(code).groups == min(read_header(long_code).groups, room)
    assert np.array_equal(prefix(short, 1920), prefix(codes, 1920))


def test_codes_are_not_changed_by_shortening_them(mixed):
    codes = encode(*mixed)
    before = codes.copy()
    prefix(codes, 7680)[:] = 0
    prefix(codes, 1920)[:] = 0
    assert np.array_equal(codes, before)


def test_prefixes_that_do_not_exist(mixed):
    codes = encode(*mixed)
    with pytest.raises(InputError, match="no codes of 4000 dimensions; choose one of 1920, 3840, 7680"):
        prefix(codes, 4000)
    with pytest.raises(InputError, match="codes of 244 bytes have no 3840 dimensions"):
        prefix(prefix(codes, 1920), 3840)
    with pytest.raises(IntegrityError):
        prefix(np.zeros((1, 964), np.uint8), 1920)


def test_decoded_directions():
    text = make_text("random", 3, 40)
    decoded = decode_slots(encode(text))[0].astype(float)
    cosine = decoded[:384] @ text.vector / np.linalg.norm(decoded[:384]) / np.linalg.norm(text.vector)
    assert cosine == pytest.approx(np.sqrt(2 / np.pi), abs=0.05)  # .80, as one bit of a Gaussian has
    assert np.linalg.norm(decoded[:384]) == pytest.approx(np.sqrt(2 / np.pi), abs=1e-6)
    first = np.where(decoded[:384] @ np.array(reference.rotation()).T > 0, 1, -1).tolist()
    base = np.array(reference.base_of(first, BASIS.share))
    differences = (text.tokens - base) @ PROJECTION.T / 32768 / 16384
    groups = decoded[384 : 384 + 128 * 40].reshape(40, 128)
    assert np.array_equal(np.sort((differences @ groups.T).argmax(axis=1)), np.arange(40))  # a group for each token
    best = (differences @ groups.T).max(axis=1) / np.linalg.norm(differences, axis=1) / np.linalg.norm(groups, axis=1)
    assert best.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.05)


@pytest.mark.parametrize("shape", [(384,), (1, 383), (1, 1, 384)])
def test_vectors_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"shape \(n, 384\)"):
        encode_slots(np.zeros(shape, np.int16), [], [], BASIS)


def test_tokens_without_weight_leave_slot_zero_alone(mixed):
    text = mixed[0]
    code = encode_slots(text.vector[None], [text.tokens], [text.weights * 0], BASIS)
    assert code[0, 1] == 0
    assert np.array_equal(code[:, 4:52], slot_bits(text.vector[None]))
    assert not code[0, 52:].any()


def test_what_does_not_fit_is_refused(mixed):
    text = mixed[0]
    good = (text.vector[None], [text.tokens], [text.weights], BASIS)

    def refused(place, value, match):
        arguments = list(good)
        arguments[place] = value
        with pytest.raises(InputError, match=match):
            encode_slots(*arguments)

    refused(0, text.vector[None].astype(float), "float64")
    refused(1, [], "tokens of 0 texts")
    refused(1, [text.tokens[:, :383]], r"int16 of shape \(m, 384\)")
    refused(1, [text.tokens.astype(np.int32)], "int32")
    refused(1, [np.full((4, 384), 1700, np.int16)], "a token has squared length 1109760000")
    refused(2, [text.weights[:3]], "4 tokens need as many whole weights")
    refused(2, [text.weights * 1.0], "float64")
    refused(2, [np.array([1, 2, 3, 256])], "1 to 256; they must lie within 0 to 255")
    refused(2, [np.array([1, -2, 3, 0])], "-2 to 3")
