import dataclasses

import numpy as np
import pytest

from tests.bitdelta import frame_reference as reference
from zenso.bitdelta import FrameCodebook, decode, encode, train_codebook
from zenso.bitdelta.visits import spread
from zenso.errors import InputError, IntegrityError, ModelError, StorageError


def unequal(count, width=40, seed=0):
    """Directions with much variance on few of hidden axes, around two centres."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(99).standard_normal((width, width)))[0]
    rows = (rng.standard_normal((count, width)) * 0.8 ** np.arange(width)) @ axes
    rows += np.where(rng.random((count, 1)) < 0.5, 1, -1) * axes[3] * 2
    return np.rint(rows / np.linalg.norm(rows, axis=1, keepdims=True) * 32767).astype(np.int16)


def error(book, vectors, size):
    decoded = decode(encode(vectors, size, book), book).astype(np.float64) * 32767
    return float(((decoded - vectors) ** 2).mean() / (vectors.astype(np.float64) ** 2).mean())


def test_training_pays_on_vectors_that_were_not_trained_on():
    book, plain = train_codebook(unequal(4000), base_rows=2), FrameCodebook.untrained(40)
    unseen = unequal(500, seed=1)
    assert book.sizes == plain.sizes
    for size in plain.sizes[:6]:
        assert error(book, unseen, size) < 0.5 * error(plain, unseen, size)
    assert len(book.bases) == 2


def test_training_reports_progress_and_is_repeatable():
    seen = []
    book = train_codebook(unequal(500), on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(block, 20) for block in range(1, 21)]
    assert train_codebook(unequal(500)).digest == book.digest


def test_constant_coordinates_do_no_harm():
    vectors = unequal(500)
    vectors[:, 5] = 7
    book = train_codebook(vectors)
    assert error(book, vectors, book.sizes[-1]) < 1e-4


@pytest.mark.parametrize(
    ("vectors", "base_rows", "named"),
    [
        (unequal(20), 4, "20 vectors are too few"),
        (np.zeros((100, 40), np.int16), 4, "all the same"),
        (np.zeros((100, 40)), 4, "must be int16"),
        (np.zeros(100, np.int16), 4, "must be int16"),
        (unequal(100), 0, "base_rows is 0"),
        (unequal(300), 257, "base_rows is 257"),
        (np.zeros((2, 4097), np.int16), 4, "4097 numbers"),
    ],
)
def test_training_refuses(vectors, base_rows, named):
    with pytest.raises(InputError, match=named):
        train_codebook(vectors, base_rows=base_rows)


def test_bits_go_where_the_variance_is():
    passes = spread(np.array([100.0, 1, 1, 1, 1, 1, 1, 0.001]))
    counts = np.bincount(np.concatenate(passes), minlength=8)
    assert counts.sum() == 8
    assert counts[0] >= 2
    assert counts[7] == 0
    assert all(len(set(dims.tolist())) == len(dims) for dims in passes)
    assert np.bincount(np.concatenate(spread(np.ones(11)))).sum() == 16


def test_the_untrained_codebook_is_that_of_the_reference():
    for width in (1, 5, 16, 24):
        assert FrameCodebook.untrained(width).digest.hex() == reference.digest(reference.untrained(width))
    rotation = FrameCodebook.untrained(300).rotation.astype(np.float64) / 32768
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(300), atol=1e-3)


@pytest.mark.parametrize("width", [0, 4097, -1])
def test_a_width_that_cannot_be_coded(width):
    with pytest.raises(InputError, match="1 to 4,096"):
        FrameCodebook.untrained(width)


def test_a_file_and_back(tmp_path):
    book = FrameCodebook.untrained(9)
    book.save(tmp_path / "book.safetensors")
    again = FrameCodebook.open(tmp_path / "book.safetensors")
    assert again.digest == book.digest
    assert again.sizes == book.sizes
    assert [path.name for path in tmp_path.iterdir()] == ["book.safetensors"]
    with pytest.raises(StorageError, match="cannot be written"):
        book.save(tmp_path / "none" / "book.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        FrameCodebook.open(tmp_path / "other")
    (tmp_path / "text").write_text("no codebook")
    with pytest.raises(IntegrityError, match="text: this is no codebook"):
        FrameCodebook.open(tmp_path / "text")


def test_the_shipped_codebook():
    book = FrameCodebook.shipped()
    assert (book.width, book.sizes[0], book.sizes[-1]) == (384, 52, 964)
    assert len(book.to_bytes()) < 1_000_000
    with pytest.raises(ModelError, match=r"'none'; there is one for all-MiniLM-L6-v2$"):
        FrameCodebook.shipped("none")


def change(book, name, index, value):
    table = getattr(book, name).copy()
    table[index] = value
    return {name: table}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (lambda b: {"rotation": b.rotation.astype(np.int32)}, "rotation is int32"),
        (lambda b: {"rotation": b.rotation[:8]}, r"rotation is \(8, 9\)"),
        (lambda b: {"rotation": np.full_like(b.rotation, 32767)}, "not orthogonal"),
        (lambda b: {"bases": np.zeros((1, 8), np.int16)}, "bases are"),
        (lambda b: {"bases": np.zeros((257, 9), np.int16)}, "bases are"),
        (lambda b: {"steps": b.steps[1:]}, "visits have"),
        (lambda b: {"blocks": b.blocks[1:], "tables": b.tables[1:]}, "passes have"),
        (lambda b: {"tables": b.tables[1:]}, "passes have"),
        (lambda b: change(b, "tables", 3, 2), "names a table"),
        (lambda b: change(b, "dims", 3, 9), "coordinate 9 of 9"),
        (lambda b: change(b, "dims", 0, int(b.dims[1])), "twice"),
        (lambda b: change(b, "weights", 0, 0), "weights"),
        (lambda b: change(b, "weights", 0, 6000), "weights"),
        (lambda b: change(b, "steps", 0, 0), "steps are below 1"),
        (lambda b: change(b, "steps", 0, 2**31 - 1), "overflow"),
        (
            lambda b: {"blocks": np.array([1] * len(b.passes), np.uint32), "tables": np.zeros_like(b.passes, np.uint8)},
            "whole bytes",
        ),
    ],
)
def test_tables_that_do_not_fit_are_named(changes, named):
    book = FrameCodebook.untrained(9)
    with pytest.raises(IntegrityError, match=named):
        dataclasses.replace(book, **changes(book))
