"""Faults planted in a real memory, straight in its database, are found and named."""

import json
import sqlite3
from contextlib import closing
from random import Random

import numpy as np
import pytest
from blake3 import blake3

from zenso.canonical import chunk_id
from zenso.errors import InputError, StorageError
from zenso.memory import Memory
from zenso.memory.database import FILE_NAME
from zenso.memory.verify import Cause, verify_memory

TEXTS = {"fox": "The quick brown fox", "bread": "Bread needs flour, water, salt and time.", "long": "water " * 400}


@pytest.fixture
def filled(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add(list(TEXTS.values()), ids=list(TEXTS))
    return folder


def edit(folder, statement, *values):
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def set_column(folder, name, value, document="fox"):
    table = "texts" if name == "text" else "embeddings"
    seq = edit(folder, "SELECT seq FROM documents WHERE id = ?", document)[0][0]
    edit(folder, f"UPDATE {table} SET {name} = ? WHERE seq = ?", value, seq)


def column(folder, name, document="fox"):
    return edit(folder, f"SELECT {name} FROM documents JOIN embeddings USING (seq) WHERE id = ?", document)[0][0]


def flip(data, place):
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def set_vector_and_hash(folder, vector):
    set_column(folder, "vector", vector)
    set_column(folder, "content_hash", blake3(vector).digest())


def nudged(vector):
    """Change the number of largest magnitude by one, which changes no sign bit of the code."""
    numbers = np.frombuffer(vector, "<i2").copy()
    numbers[np.abs(numbers.astype(int)).argmax()] -= 1
    return numbers.tobytes()


def set_provenance(folder, change):
    """Give all documents a provenance that was changed and is consistent with its digest."""
    stored = json.loads(edit(folder, "SELECT json FROM provenance")[0][0])
    change(stored)
    text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    edit(folder, "UPDATE provenance SET json = ?, digest = ?", text, blake3(text.encode()).digest())


def other_kernel(provenance):
    provenance["model"]["kernel"] = "5e" * 32


def found(folder, encoder, **options):
    return [(one.id, one.cause) for one in verify_memory(folder, encoder, **options).mismatches]


def test_a_clean_memory(filled, encoder):
    before = (filled / FILE_NAME).read_bytes()
    steps = []
    report = verify_memory(filled, encoder, on_progress=lambda *step: steps.append(step))
    assert report.ok
    assert (report.documents, report.checked, report.certainty, report.notes) == (3, 3, 1, [])
    assert steps[-1] == (3, 3)
    assert steps == sorted(steps)
    assert (filled / FILE_NAME).read_bytes() == before


def test_only_the_documents_asked_for_are_checked(filled, encoder):
    set_column(filled, "code", b"")
    assert verify_memory(filled, encoder, ids=["bread", "unknown"]).ok
    report = verify_memory(filled, encoder, ids=["fox", "bread"])
    assert (report.checked, [found.id for found in report.mismatches]) == (2, ["fox"])


def test_the_chunk_id_of_a_row_names_its_text(filled, encoder):
    assert column(filled, "chunk_id") == chunk_id("fox", 0, TEXTS["fox"])
    with Memory.open(filled, encoder=encoder) as memory:
        memory.replace_source("a.txt", "1", ["same", "same"])
        memory.replace_source("a.txt", "2", ["other", "same"])
        memory.add("A new fox", ids="fox")
    assert verify_memory(filled, encoder).ok


@pytest.mark.parametrize("text", ["The quick brown dog", "the quick brown fox", "", "  ", b"\xff\xfe"])
def test_a_changed_text(filled, encoder, text):
    """Also where the vector stays the same (an uncased model) or nothing can be embedded."""
    set_column(filled, "text", text)
    assert found(filled, encoder) == [("fox", Cause.TEXT_CHANGED)]


def test_a_text_changed_beyond_what_is_embedded(filled, encoder):
    set_column(filled, "text", TEXTS["long"] + "wine", "long")
    (mismatch,) = verify_memory(filled, encoder).mismatches
    assert (mismatch.id, mismatch.cause) == ("long", Cause.TEXT_CHANGED)
    assert "same vector" in mismatch.detail


@pytest.mark.parametrize("part", ["model.artifact", "model.weights", "model.tokenizer", "model.model_id", "slots"])
def test_another_model(filled, encoder, part):
    def change(provenance):
        place = provenance["model"] if part.startswith("model.") else provenance
        place[part.removeprefix("model.")] = "another"

    set_provenance(filled, change)
    encoder.encoded.clear()
    report = verify_memory(filled, encoder)
    assert [one.cause for one in report.mismatches] == [Cause.OTHER_MODEL] * 3
    assert all(part in one.detail for one in report.mismatches)
    assert not encoder.encoded


@pytest.mark.parametrize("stored", ["", "{}", "[]", "null", '{"model":1}', '{"model":{}}', b"\xff", "[" * 100_000])
def test_a_provenance_that_cannot_be_read(filled, encoder, stored):
    edit(filled, "UPDATE provenance SET json = ?", stored)
    assert {cause for _, cause in found(filled, encoder)} == {Cause.OTHER_MODEL}


def test_a_provenance_that_does_not_fit_its_digest(filled, encoder):
    edit(filled, "UPDATE provenance SET json = replace(json, '}', ' }')")
    assert {cause for _, cause in found(filled, encoder)} == {Cause.OTHER_MODEL}
    edit(filled, "DELETE FROM provenance")
    assert {cause for _, cause in found(filled, encoder)} == {Cause.OTHER_MODEL}


def test_another_kernel(filled, encoder):
    set_provenance(filled, other_kernel)
    report = verify_memory(filled, encoder)
    assert report.ok
    assert report.notes == [
        f"3 embeddings were made by another build of the kernel ({'5e' * 32}) and are the same here"
    ]
    set_vector_and_hash(filled, nudged(column(filled, "vector")))
    report = verify_memory(filled, encoder)
    assert [(one.id, one.cause) for one in report.mismatches] == [("fox", Cause.OTHER_KERNEL)]
    assert "1 numbers" in report.mismatches[0].detail
    assert report.notes[0].startswith("2 embeddings")


def test_another_version_of_the_kernel(filled, encoder):
    def change(provenance):
        provenance["model"]["version"] += 1

    set_provenance(filled, change)
    assert found(filled, encoder) == []
    set_vector_and_hash(filled, nudged(column(filled, "vector")))
    assert found(filled, encoder) == [("fox", Cause.OTHER_KERNEL)]


def test_faults_under_another_kernel_keep_their_causes(filled, encoder):
    set_provenance(filled, other_kernel)
    set_column(filled, "text", "The quick brown dog", "fox")
    set_column(filled, "vector", flip(column(filled, "vector", "bread"), 100), "bread")
    set_column(filled, "code", flip(column(filled, "code", "long"), 900), "long")
    expected = [("fox", Cause.TEXT_CHANGED), ("bread", Cause.CORRUPTED_VECTOR), ("long", Cause.CORRUPTED_CODE)]
    assert found(filled, encoder) == expected


@pytest.mark.parametrize("place", [0, 100, 767])
def test_a_corrupted_vector(filled, encoder, place):
    set_column(filled, "vector", flip(column(filled, "vector"), place))
    assert found(filled, encoder) == [("fox", Cause.CORRUPTED_VECTOR)]


@pytest.mark.parametrize("change", [lambda data: b"", lambda data: data[:-1], lambda data: data + b"\0"])
def test_lengths(filled, encoder, change):
    set_vector_and_hash(filled, change(column(filled, "vector")))
    assert found(filled, encoder) == [("fox", Cause.CORRUPTED_VECTOR)]
    set_column(filled, "code", change(column(filled, "code", "bread")), "bread")
    assert found(filled, encoder) == [("fox", Cause.CORRUPTED_VECTOR), ("bread", Cause.CORRUPTED_CODE)]


def test_a_corrupted_content_hash(filled, encoder):
    set_column(filled, "content_hash", flip(column(filled, "content_hash"), 5))
    (mismatch,) = verify_memory(filled, encoder).mismatches
    assert mismatch.cause is Cause.CORRUPTED_VECTOR
    assert "vector is right" in mismatch.detail


def test_a_vector_replaced_with_its_hash(filled, encoder):
    set_vector_and_hash(filled, nudged(column(filled, "vector")))
    assert found(filled, encoder) == [("fox", Cause.CORRUPTED_VECTOR)]


@pytest.mark.parametrize("place", [0, 2, 4, 500, 963])
def test_a_corrupted_code(filled, encoder, place):
    set_column(filled, "code", flip(column(filled, "code"), place))
    assert found(filled, encoder) == [("fox", Cause.CORRUPTED_CODE)]


def test_a_code_is_held_against_its_vector_where_the_text_cannot_tell(filled, encoder):
    set_column(filled, "text", "The quick brown dog")
    set_column(filled, "code", flip(column(filled, "code"), 10))
    assert found(filled, encoder) == [("fox", Cause.TEXT_CHANGED), ("fox", Cause.CORRUPTED_CODE)]


def test_the_embedding_of_another_text(filled, encoder):
    for name in ("vector", "content_hash", "code"):
        set_column(filled, name, column(filled, name, "bread"))
    assert found(filled, encoder) == [("fox", Cause.CORRUPTED_VECTOR), ("fox", Cause.CORRUPTED_CODE)]
    set_column(filled, "chunk_id", column(filled, "chunk_id", "bread"))
    assert found(filled, encoder) == [("fox", Cause.TEXT_CHANGED)]


def test_rows_that_are_missing(filled, encoder):
    edit(filled, "DELETE FROM texts WHERE seq = 1")
    edit(filled, "DELETE FROM embeddings WHERE seq = 2")
    expected = [("fox", Cause.TEXT_CHANGED), ("bread", Cause.CORRUPTED_VECTOR), ("bread", Cause.CORRUPTED_CODE)]
    assert found(filled, encoder) == expected


def test_a_sample(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add([f"text {n}" for n in range(40)])
    report = verify_memory(folder, encoder, sample=4, loss=0.1, random=Random(1))
    assert (report.documents, report.checked, report.loss) == (40, 4, 0.1)
    assert report.certainty == pytest.approx(1 - 36 * 35 * 34 * 33 / (40 * 39 * 38 * 37))
    report = verify_memory(folder, encoder, certainty=0.9, loss=0.2)
    assert 5 < report.checked < 15
    assert report.certainty >= 0.9
    assert verify_memory(folder, encoder, sample=99).checked == 40


def test_a_sample_finds_what_it_promises(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        ids = memory.add([f"text {n}" for n in range(40)])
    for document in ids[:8]:
        set_column(folder, "code", bytes(964), document)
    tries = [not verify_memory(folder, encoder, certainty=0.9, loss=0.2, random=Random(n)).ok for n in range(60)]
    assert sum(tries) >= 48  # 54 are expected; fewer than 48 would have a chance of 1 in 200 with other seeds


def test_nothing_to_check(folder, encoder):
    def load():
        raise AssertionError("no document, so no model")

    Memory.open(folder).close()
    report = verify_memory(folder, load)
    assert (report.ok, report.documents, report.certainty) == (True, 0, 1)


@pytest.mark.parametrize("options", [{"sample": 0}, {"sample": 1, "certainty": 0.9}, {"certainty": 2}, {"loss": 0}])
def test_options_that_make_no_sense(filled, encoder, options):
    with pytest.raises(InputError):
        verify_memory(filled, encoder, **options)


def test_no_memory(tmp_path, encoder):
    with pytest.raises(StorageError, match="no memory"):
        verify_memory(tmp_path / "none", encoder)
