import re

import numpy as np
import pytest

from zenso.cli.vector_files import read_vectors
from zenso.errors import InputError

WIDTH = 24


@pytest.fixture
def vectors(zenso_here):
    rows = np.random.default_rng(0).standard_normal((300, WIDTH)) * 0.85 ** np.arange(WIDTH)
    np.save(zenso_here.place / "v.npy", rows.astype(np.float32))
    return rows


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_encode_look_and_decode(zenso, vectors):
    told = zenso("codec", "encode", "v.npy", "-o", "c.npy", "--size", 19, "--json").json
    assert (told["vectors"], told["bytes"], told["width"]) == (300, 19, WIDTH)
    codes = np.load(zenso.place / "c.npy")
    assert (codes.dtype, codes.shape) == (np.uint8, (300, 19))
    about = zenso("codec", "info", "c.npy", "--json").json
    assert (about["codes"], about["bytes"], about["family"], about["version"]) == (300, 19, 2, 1)
    assert about["base_rows_used"] == [0]
    assert "300 vectors of 24 numbers" in zenso("codec", "decode", "c.npy", "-o", "d.npy", "--width", WIDTH).out
    decoded = np.load(zenso.place / "d.npy")
    assert decoded.dtype == np.float32
    assert cosines(decoded, vectors).mean() > 0.99
    assert sorted(path.name for path in zenso.place.iterdir()) == ["c.npy", "d.npy", "v.npy"]


def test_training_lowers_the_error(zenso_here, vectors):
    told = zenso_here("codec", "train", "v.npy", "-o", "book.safetensors", "--base-rows", 1, "--json").json
    sizes = zenso_here("codec", "info", "book.safetensors", "--json").json
    assert sizes["codebook"] == told["codebook"]
    assert (sizes["width"], sizes["base_rows"], sizes["sizes"][:2]) == (WIDTH, 1, [7, 10])
    plain = zenso_here("codec", "measure", "v.npy", "--size", 7, "--json").json
    learned = zenso_here("codec", "measure", "v.npy", "--size", 7, "-c", "book.safetensors", "--json").json
    assert plain["queries"] == 300
    assert learned["sizes"][0]["recall_at_10"] > plain["sizes"][0]["recall_at_10"]
    assert learned["sizes"][0]["mean_cosine"] > plain["sizes"][0]["mean_cosine"]
    zenso_here("codec", "encode", "v.npy", "-o", "c.npy", "-s", 10, "-c", "book.safetensors")
    zenso_here("codec", "decode", "c.npy", "-o", "d.npy", "-c", "book.safetensors")
    assert cosines(np.load(zenso_here.place / "d.npy"), vectors).mean() > 0.9


def test_measure_shows_a_line_a_size(zenso_here, vectors):
    lines = zenso_here("codec", "measure", "v.npy").out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["7", "10", "13", "16", "19", "28", "34", "64"]
    assert float(lines[-1].split()[1]) > 0.99
    np.save(zenso_here.place / "few.npy", vectors[:3])
    row = zenso_here("codec", "measure", "few.npy", "--size", 64, "--json").json["sizes"][0]
    assert row["recall_at_10"] is None
    assert row["mean_cosine"] > 0.999


def test_canonical_vectors_and_the_shipped_codebook(zenso_here):
    rows = np.random.default_rng(1).standard_normal((20, 384))
    quantised = np.rint(rows / np.linalg.norm(rows, axis=1, keepdims=True) * 32767)
    np.save(zenso_here.place / "i.npy", quantised.astype(">i2"))
    np.save(zenso_here.place / "f.npy", np.asfortranarray(rows))
    for name in ("i", "f"):
        zenso_here("codec", "encode", f"{name}.npy", "-o", f"{name}c.npy", "-s", 52, "-c", "all-MiniLM-L6-v2")
    assert np.array_equal(np.load(zenso_here.place / "ic.npy"), np.load(zenso_here.place / "fc.npy"))
    assert "52 100 148" in zenso_here("codec", "info", "all-MiniLM-L6-v2").out


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros(5, np.float32), "shape (5,)"),
        (np.zeros((0, 5), np.float32), "shape (0, 5)"),
        (np.zeros((2, 2, 2), np.float32), "shape (2, 2, 2)"),
        (np.zeros((2, 5), np.int32), "holds int32"),
        (np.zeros((2, 5), np.complex64), "holds complex64"),
        (np.array([[0.5, 1], [1, np.nan], [np.inf, 0]]), "row 1 holds NaN, infinity"),
        (np.array([[0.5, 1], [1, 1e300]]), "row 1 holds"),
        (np.array([["a", "b"]]), "holds <U1"),
        (np.array([[{}]]), "cannot be read"),
    ],
)
def test_bad_vectors_are_named(tmp_path, array, named):
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=rf"bad\.npy.*{re.escape(named)}"):
        read_vectors(tmp_path / "bad.npy")


def test_bad_files_sizes_and_codebooks_are_named(zenso_here, vectors):
    (zenso_here.place / "text.npy").write_text("no array")
    np.savez(zenso_here.place / "two.npz", a=vectors, b=vectors)
    zenso_here("codec", "encode", "v.npy", "-o", "c.npy", "-s", 7)
    codes = np.load(zenso_here.place / "c.npy")
    codes[4, 0] = 0x11
    np.save(zenso_here.place / "damaged.npy", codes)
    np.save(zenso_here.place / "nan.npy", np.full((2, WIDTH), np.nan))
    np.save(zenso_here.place / "wide.npy", np.zeros((2, 5000), np.float32))
    for arguments, named in [
        (("encode", "none.npy", "-o", "x.npy", "-s", 7), "none.npy cannot be read"),
        (("encode", "text.npy", "-o", "x.npy", "-s", 7), "text.npy cannot be read"),
        (("encode", "two.npz", "-o", "x.npy", "-s", 7), "several arrays"),
        (("encode", "nan.npy", "-o", "x.npy", "-s", 7), "nan.npy: row 0 holds NaN"),
        (("encode", "wide.npy", "-o", "x.npy", "-s", 7), "1 to 4,096"),
        (("encode", "v.npy", "-o", "x.npy", "-s", 8), "a code of 8 bytes is none of this codebook"),
        (("encode", "v.npy", "-o", "none/x.npy", "-s", 7), "cannot be written"),
        (("encode", "v.npy", "-o", "x.npy", "-s", 7, "-c", "all-MiniLM-L6-v2"), "the codebook is for 384"),
        (("measure", "v.npy", "-s", 8), "a code of 8 bytes"),
        (("encode", "v.npy", "-o", "x.npy", "-s", 7, "-c", "mystery"), "'mystery'; there is one for all-MiniLM-L6-v2"),
        (("encode", "v.npy", "-o", "x.npy", "-s", 7, "-c", "text.npy"), "text.npy: this is no codebook"),
        (("decode", "c.npy", "-o", "x.npy"), "give the --codebook"),
        (("decode", "c.npy", "-o", "x.npy", "-w", 384), "a code of 7 bytes"),
        (("decode", "damaged.npy", "-o", "x.npy", "-w", WIDTH), "code 4 is of family 1"),
        (("info", "damaged.npy"), "code 4 is of family 1"),
        (("info", "v.npy"), "codes must be uint8"),
        (("train", "v.npy", "-o", "none/b.safetensors"), "cannot be written"),
    ]:
        done = zenso_here("codec", *arguments, code=1)
        assert done.is_one_error_line, done.err
        assert named in done.err
    assert not (zenso_here.place / "x.npy").exists()
