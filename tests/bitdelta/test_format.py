import json
from pathlib import Path

import numpy as np
import pytest

import zenso
from tests.bitdelta import reference
from zenso.bitdelta import CodeHeader, encode_slots, prepare_query, read_header, score
from zenso.errors import IntegrityError

VECTORS = Path(__file__).parents[2] / "docs" / "vectors" / "bitdelta_slots.json"


def known_code():
    slots = np.zeros((1, 20, 384), np.int16)
    slots[:, :, 0] = 30000
    return encode_slots(slots)[0]


def test_header_to_the_bit():
    code = known_code()
    assert code[:4].tobytes() == bytes([0x11, 0x00]) + (30000).to_bytes(2, "little")
    assert read_header(code) == CodeHeader(family=1, version=1, base=0, scale=30000)


def test_bits_stand_where_the_format_says():
    code = known_code()
    column = [row[0] * reference.flips()[0] for row in reference.hadamard()]
    for slot in range(20):
        for i in range(384):
            assert code[4 + 48 * slot + i // 8] >> i % 8 & 1 == (column[i] > 0)


def test_scale_uses_all_sixteen_bits():
    code = known_code()
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
    with pytest.raises(IntegrityError, match=r"964 bytes \(uint8\)"):
        read_header(code)


@pytest.mark.parametrize(
    ("at", "value", "named"),
    [
        (0, 0x21, "family 2, version 1, base row 0"),
        (0, 0x12, "family 1, version 2, base row 0"),
        (0, 0x00, "family 0, version 0, base row 0"),
        (1, 7, "family 1, version 1, base row 7"),
    ],
)
def test_what_this_version_does_not_know(at, value, named):
    code = known_code()
    code[at] = value
    with pytest.raises(IntegrityError, match=named):
        read_header(code)
    with pytest.raises(zenso.ZensoError):
        zenso.bitdelta.decode_slots(code[None])


def test_published_vectors_hold_for_both_implementations():
    published = json.loads(VECTORS.read_text("utf-8"))
    assert published == json.loads(json.dumps(reference.vectors()))
    query = np.array(reference.formula_slots(**published["query"]["slots"]))
    query[published["query"]["zero_slots"]] = 0
    prepared = prepare_query(query, 1)
    for document in published["documents"]:
        code = encode_slots(np.array([reference.formula_slots(**document["slots"])]))
        assert code.tobytes().hex() == document["code"]
        assert score(prepared, code).tolist() == [document["score"]]
