"""docs/vectors/bitdelta_frame.json says what both implementations give."""

import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from tests.bitdelta import frame_reference as reference
from zenso.bitdelta import FrameCodebook, FrameQuery, encode, prefix, score
from zenso.bitdelta.trellis import DATA

PATH = Path(__file__).parents[2] / "docs" / "vectors" / "bitdelta_frame.json"
FILE = json.loads(PATH.read_text("utf-8"))
BOOKS = {"untrained": FrameCodebook.untrained(20), "all-MiniLM-L6-v2": FrameCodebook.shipped()}


def vector(width, formula):
    return np.array(reference.formula_vector(width, **formula), np.int16)


@pytest.mark.parametrize("name", BOOKS)
def test_codes_prefixes_and_scores(name):
    section, book = FILE[name], BOOKS[name]
    assert section["codebook_blake3"] == book.digest.hex()
    query = FrameQuery.of(vector(section["width"], section["query"]), book)
    for case in section["cases"]:
        row = vector(section["width"], case["vector"])[None]
        for size, code, expected in zip(section["sizes"], case["codes"], case["scores"], strict=True):
            assert encode(row, size, book).tobytes().hex() == code
            assert score(query, encode(row, size, book)).tolist() == [expected]
        longest = np.frombuffer(bytes.fromhex(case["codes"][-1]), np.uint8)[None]
        assert prefix(longest, section["sizes"][0], book).tobytes().hex() == case["prefix"]


def test_the_untrained_tables():
    section, book = FILE["untrained"], BOOKS["untrained"]
    for name in ("rotation", "dims", "steps", "weights", "passes", "blocks", "tables"):
        assert getattr(book, name).tolist() == section[name]


def test_the_trellis():
    assert blake3((DATA / "trellis.safetensors").read_bytes()).hexdigest() == FILE["trellis_blake3"]


def test_the_file_is_what_the_reference_writes():
    assert reference.document() == PATH.read_text("utf-8"), "run python -m tests.bitdelta.frame_reference"
