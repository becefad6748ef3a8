import json
from pathlib import Path

import numpy as np
import pytest

import zenso
from tests.bitdelta import reference
from tests.bitdelta.strategies import BASIS, PROJECTION, make_text
from zenso.bitdelta import DIMENSIONS, CodeHeader, SlotBasis, encode_slots, prefix, prepare_query, read_header, score
from zenso.bitdelta.format import code_bytes, group_room
from zenso.errors import IntegrityError

VECTORS = Path(__file__).parents[2] / "docs" / "vectors" / "bitdelta_slots.json"


def known_code():
    text = make_text("random", 1, 5)
    return text, encode_slots(text.vector[None], [text.tokens], [text.weights], BASIS)[0]


def test_header_to_the_bit():
    text, code = known_code()
    base = reference.base_of([1 if value > 0 else -1 for value in reference.rotate(text.vector.tolist())], BASIS.share)
    projected = np.array([reference.project(token, base, PROJECTION.tolist()) for token in text.tokens.tolist()])
    scale = int((text.weights @ np.abs(projected)).sum()) // int(128 * text.weights.sum())  # each token has a group
    assert code[:4].tobytes() == bytes([0x12, 5]) + scale.to_bytes(2, "little")
    assert read_header(code) == CodeHeader(family=1, version=2, groups=5, scale=scale)


def test_bits_stand_where_the_format_says():
    text, code = known_code()
    bits = [code[4 + i // 8] >> i % 8 & 1 for i in range(7680)]
    first = [value > 0 for value in reference.rotate(text.vector.tolist())]
    assert bits[:384] == first
    base = reference.base_of([1 if bit else -1 for bit in first], BASIS.share)
    signs = {
        tuple(value > 0 for value in reference.project(token, base, PROJECTION.tolist()))
        for token in text.tokens.tolist()
    }
    assert {tuple(bits[384 + 128 * g : 512 + 128 * g]) for g in range(5)} == signs
    assert not any(bits[384 + 128 * 5 :])


def test_lengths():
    assert [code_bytes(dimensions) for dimensions in DIMENSIONS] == [244, 484, 964]
    assert [group_room(length) for length in (244, 484, 964)] == [12, 27, 57]


def test_scale_uses_all_sixteen_bits():
    _, code = known_code()
    code[2:4] = 0xFE, 0xFF
    assert read_header(code).scale == 0xFFFE


@pytest.mark.parametrize(
    "code",
    [
        np.zeros(963, np.uint8),
        np.zeros(965, np.uint8),
        np.zeros(0, np.uint8),
        np.zeros((1, 964), np.uint8),
        np.zeros(964, np.int8),
        np.zeros(964, np.uint16),
    ],
)
def test_other_lengths_and_types_are_no_code(code):
    with pytest.raises(IntegrityError, match=r"244 or 484 or 964 bytes \(uint8\)"):
        read_header(code)


@pytest.mark.parametrize(
    ("at", "value", "named"),
    [
        (0, 0x22, "family 2, version 2"),
        (0, 0x11, "family 1, version 1"),
        (0, 0x00, "family 0, version 0"),
        (1, 58, "version 2, 58 groups"),
    ],
)
def test_what_this_version_does_not_know(at, value, named):
    _, code = known_code()
    code[at] = value
    with pytest.raises(IntegrityError, match=named):
        read_header(code)
    with pytest.raises(zenso.ZensoError):
        zenso.bitdelta.decode_slots(code[None])


def test_a_prefix_cannot_hold_more_groups_than_it_has_room_for():
    _, code = known_code()
    code[1] = 13
    with pytest.raises(IntegrityError, match="244 bytes, family 1, version 2, 13 groups"):
        read_header(code[:244])


def test_published_vectors_hold_for_both_implementations():
    published = json.loads(VECTORS.read_text("utf-8"))
    assert published == json.loads(json.dumps(reference.vectors()))
    projection = np.array(reference.formula(128, 384, **published["projection"]), np.int16)
    basis = SlotBasis(projection, published["share"], np.array(published["units"], np.int32))
    _, tokens, _ = reference.formula_text(**published["query"]["text"])
    query = prepare_query(np.array(tokens, np.int16), np.array(published["query"]["weights"]), basis)
    for document in published["documents"]:
        vector, states, weights = map(np.array, reference.formula_text(**document["text"]))
        code = encode_slots(vector[None], [states.astype(np.int16)], [weights], basis)
        assert code.tobytes().hex() == document["code"]
        scores = [score(query, prefix(code, dimensions)).item() for dimensions in DIMENSIONS]
        assert scores == list(document["scores"].values())
