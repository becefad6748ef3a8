import numpy as np
import pytest
from hypothesis import given, settings

from tests.bitdelta import reference
from tests.bitdelta.strategies import document_slots, make_slots
from zenso.bitdelta import CODE_BYTES, decode_slots, encode_slots
from zenso.bitdelta.rotation import FLIPS, paley_matrix, rotate
from zenso.errors import InputError

slow = settings(max_examples=15, deadline=None)


def test_hadamard_rows_are_orthogonal():
    matrix = np.array(reference.hadamard())
    assert np.array_equal(matrix @ matrix.T, 384 * np.eye(384))
    assert np.array_equal(paley_matrix(), reference.paley())
    assert FLIPS.tolist() == reference.flips()


@settings(max_examples=40, deadline=None)
@given(document_slots)
def test_rotation_equals_the_matrix(slots):
    wide = slots * 2**38  # the largest magnitudes that are promised
    assert np.array_equal(rotate(wide), wide @ np.array(reference.rotation()).T)


@slow
@given(document_slots)
def test_encode_equals_reference(slots):
    code = encode_slots(slots[None])
    assert code.shape == (1, CODE_BYTES)
    assert code[0].tobytes() == reference.encode(slots.tolist())


@slow
@given(document_slots)
def test_decode_equals_reference(slots):
    code = encode_slots(slots[None])
    decoded = decode_slots(code)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded[0], np.array(reference.decode(code[0].tobytes()), np.float32))


@given(document_slots)
@slow
def test_scale_is_the_least_squares_one(slots):
    code = encode_slots(slots[None])[0]
    rotated = rotate(slots)
    exact = np.abs(rotated).mean()
    assert int(code[2]) + 256 * int(code[3]) == min(int(exact), 65535)


def test_each_document_has_its_own_code():
    slots = np.stack([make_slots("random", seed) for seed in range(5)])
    together = encode_slots(slots)
    assert np.array_equal(together, np.concatenate([encode_slots(one[None]) for one in slots]))
    assert len({code.tobytes() for code in together}) == 5


def test_no_documents():
    assert encode_slots(np.empty((0, 20, 384), np.int16)).shape == (0, CODE_BYTES)
    assert decode_slots(np.empty((0, CODE_BYTES), np.uint8)).shape == (0, 20, 384)


def test_memory_layout_and_type_do_not_matter():
    slots = make_slots("random", 1).astype(np.int16)
    wide = np.zeros((1, 40, 768), np.int64)
    wide[0, ::2, ::2] = slots
    expected = encode_slots(slots[None])
    assert np.array_equal(encode_slots(wide[:, ::2, ::2]), expected)
    assert np.array_equal(encode_slots(np.asfortranarray(slots[None])), expected)
    decoded = decode_slots(np.repeat(expected, 2, axis=1)[:, ::2])
    assert np.array_equal(decoded, decode_slots(expected))


def test_decoded_direction_of_random_slots():
    slots = np.stack([make_slots("unit directions", seed) for seed in range(10)])
    decoded = decode_slots(encode_slots(slots)).reshape(10, -1)
    original = slots.reshape(10, -1)
    cosines = (decoded * original).sum(axis=1) / np.linalg.norm(decoded, axis=1) / np.linalg.norm(original, axis=1)
    assert np.abs(cosines - np.sqrt(2 / np.pi)).max() < 0.01  # .80, as one bit of a Gaussian has
    lengths = np.linalg.norm(decoded.reshape(10, 20, 384), axis=2)
    assert np.abs(lengths - np.sqrt(2 / np.pi)).max() < 0.01


@pytest.mark.parametrize("shape", [(20, 384), (1, 19, 384), (1, 20, 383), (1, 7680)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"shape \(n, 20, 384\)"):
        encode_slots(np.zeros(shape, np.int16))


def test_floats_are_refused():
    with pytest.raises(InputError, match="float32"):
        encode_slots(np.zeros((1, 20, 384), np.float32))


@pytest.mark.parametrize("value", [32768, -32768, 2**40])
def test_magnitudes_beyond_a_direction_are_refused(value):
    slots = np.zeros((2, 20, 384), np.int64)
    slots[1, 19, 383] = value
    with pytest.raises(InputError, match=f"magnitude of {abs(value)}"):
        encode_slots(slots)
