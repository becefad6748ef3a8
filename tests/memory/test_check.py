"""Faults planted in a real memory are found without the model, named, and repaired where that is possible."""

import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from zenso.errors import IntegrityError, StorageError
from zenso.memory import Memory, migrations
from zenso.memory.check import check_memory
from zenso.memory.database import FILE_NAME
from zenso.memory.segments import FOLDER_NAME
from zenso.memory.verify import verify_memory

pytestmark = pytest.mark.usefixtures("small_segments")

TEXTS = [f"document number {n}" for n in range(30)]


@pytest.fixture(scope="module")
def template(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "notes.zenso"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("zenso.memory.upkeep.SEGMENT_ROWS", 8)
        patched.setattr("zenso.memory.upkeep.CLOSING_ROWS", 4)
        with Memory.open(folder, encoder=encoder) as memory:
            metadata = [{"n": n, "tags": ["a", "b", 1.5, True, None], "empty": []} for n in range(30)]
            memory.add(TEXTS, ids=TEXTS, metadata=metadata)
            memory.replace_source("/a.txt", "v1", ["from a file", "another line"])
            memory.delete([TEXTS[4], TEXTS[12]])
    return folder


@pytest.fixture
def filled(template, folder):
    shutil.copytree(template, folder)
    return folder


def edit(folder, *statements):
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)


def contents(folder):
    return {path: path.read_bytes() for path in [folder / FILE_NAME, *folder.rglob("*.codes")]}


def kinds(report):
    return {(finding.fault, finding.id) for finding in report.findings}


def test_a_sound_memory(filled):
    progress = []
    report = check_memory(filled, repair=True, on_progress=lambda *event: progress.append(event))
    assert report.ok
    assert (report.documents, report.findings, report.repaired) == (30, [], [])
    assert report.segments >= 3
    assert progress == [(30, 30)]


FLIP = "substr({0}, 1, 9) || x'a5' || substr({0}, 11)"

# Statement; what is found; what is left after the repair.
REPAIRED = {
    "an orphaned text": ("INSERT INTO texts VALUES (99, 'lost')", {("orphans", None)}),
    "an orphaned field": ("INSERT INTO fields VALUES (99, 'a', 1)", {("orphans", None)}),
    "an orphaned embedding": (
        """INSERT INTO embeddings SELECT 99, code, vector, content_hash, chunk_id, code_hash, token_set
        FROM embeddings LIMIT 1""",
        {("orphans", None)},
    ),
    "fields": ("DELETE FROM fields WHERE seq = 3 AND name = 'n'", {("wrong fields", TEXTS[2])}),
    "a wrong field": ("UPDATE fields SET value = '2' WHERE seq = 3 AND name = 'n'", {("wrong fields", TEXTS[2])}),
    "a removal": ("INSERT INTO removed VALUES (30, 1)", {("wrong removals", None)}),
    "an index": ("DROP INDEX documents_source", {("missing schema", None)}),
    "a trigger": ("DROP TRIGGER documents_removed", {("missing schema", None)}),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_what_a_repair_puts_right(filled, encoder, name):
    statement, expected = REPAIRED[name]
    edit(filled, statement)
    before = contents(filled)
    report = check_memory(filled)
    assert expected <= kinds(report)
    assert all("--repair" in finding.remedy for finding in report.findings)
    assert {
        path: path.read_bytes() for path in filled.rglob("*") if path.suffix == ".codes" or path.name == FILE_NAME
    } == before
    repaired = check_memory(filled, repair=True)
    assert repaired.ok
    assert repaired.repaired == report.findings
    assert check_memory(filled).ok
    with Memory.open(filled, encoder=encoder) as memory:
        assert len(memory.search("number", k=99)) == 30
        assert memory.search("number", where={"n": 2})[0].id == TEXTS[2]


@pytest.mark.parametrize("column", ["vector", "code", "content_hash", "code_hash"])
def test_a_corrupted_embedding_is_marked_and_made_again(filled, encoder, column):
    edit(filled, f"UPDATE embeddings SET {column} = CAST({FLIP.format(column)} AS BLOB) WHERE seq = 3")
    fault = "corrupted code" if "code" in column else "corrupted vector"
    assert kinds(check_memory(filled)) == {(fault, TEXTS[2])}
    report = check_memory(filled, repair=True)
    assert kinds(report) == {("not embedded", TEXTS[2])}
    assert f"zenso reembed {filled}" in report.findings[0].remedy
    assert [finding.fault for finding in report.repaired] == [fault]
    with Memory.open(filled, encoder=encoder) as memory:
        assert TEXTS[2] not in {hit.id for hit in memory.search("number", k=99)}
        assert memory.reembed() == 1
        assert TEXTS[2] in {hit.id for hit in memory.search("number", k=99)}
    assert check_memory(filled).ok
    assert verify_memory(filled, encoder).ok


@pytest.mark.parametrize("code", ["x'0011'", "x'99' || substr(code, 2)"])
def test_a_code_with_a_right_hash_and_a_wrong_form(filled, code):
    with closing(sqlite3.connect(filled / FILE_NAME, isolation_level=None)) as connection:
        connection.create_function("blake3", 1, lambda value: migrations.blake3(value).digest())
        connection.execute(f"UPDATE embeddings SET code = CAST({code} AS BLOB) WHERE seq = 3")
        connection.execute("UPDATE embeddings SET code_hash = blake3(code) WHERE seq = 3")
    assert ("corrupted code", TEXTS[2]) in kinds(check_memory(filled))
    assert kinds(check_memory(filled, repair=True)) == {("not embedded", TEXTS[2])}


LOST = {
    "the text": ("UPDATE texts SET text = 'changed' WHERE seq = 3", {("text changed", TEXTS[2])}),
    "a missing text": ("DELETE FROM texts WHERE seq = 3", {("text missing", TEXTS[2])}),
    "the id": ("UPDATE documents SET id = 'changed' WHERE seq = 3", {("text changed", "changed")}),
    "the metadata": ("UPDATE documents SET metadata = '{' WHERE seq = 3", {("corrupted metadata", TEXTS[2])}),
    "the provenance": ("UPDATE provenance SET json = json || ' '", {("corrupted provenance", None)}),
    "a source": ("DELETE FROM sources", {("broken reference", None)}),
}


@pytest.mark.parametrize("name", LOST)
def test_what_cannot_be_rebuilt_is_said_and_kept(filled, name):
    statement, expected = LOST[name]
    edit(filled, statement)
    report = check_memory(filled)
    lost = [finding for finding in report.findings if finding.fault != "wrong full-text index"]  # it is rebuilt
    assert {(finding.fault, finding.id) for finding in lost} == expected
    assert all("restore" in finding.remedy for finding in lost)
    assert kinds(check_memory(filled, repair=True)) == expected
    with closing(sqlite3.connect(filled / FILE_NAME)) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (30,)
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone() == (30,)


def test_segments_are_compared_with_the_database(filled, encoder):
    files = sorted((filled / FOLDER_NAME).iterdir())
    files[0].unlink()
    content = bytearray(files[1].read_bytes())
    content[-1] ^= 1
    files[1].write_bytes(content)
    report = check_memory(filled)
    assert kinds(report) == {("wrong segment", None)}
    assert len(report.findings) == 2
    assert check_memory(filled, repair=True).ok
    edit(filled, "DELETE FROM removed", "UPDATE state SET epoch = 5")
    with Memory.open(filled, encoder=encoder) as memory:
        memory.delete(TEXTS[20])
    edit(filled, "DELETE FROM removed")
    report = check_memory(filled)
    assert "1 rows that are neither documents nor removed" in report.findings[0].detail
    assert check_memory(filled, repair=True).ok


def test_a_segment_with_the_codes_of_other_documents(filled):
    edit(
        filled,
        "CREATE TEMP TABLE one AS SELECT code, code_hash FROM embeddings WHERE seq = 2",
        "UPDATE embeddings SET (code, code_hash) = (SELECT code, code_hash FROM one) WHERE seq = 3",
    )
    report = check_memory(filled)
    assert "codes of 1 documents are not those of the database" in report.findings[0].detail


def test_a_damaged_index_is_rebuilt(filled):
    change = "UPDATE sqlite_master SET sql = replace(sql, '{}', '{}') WHERE name = 'documents_source'"
    edit(filled, change.format("IS NOT NULL", "IS NULL"))
    edit(filled, "REINDEX documents_source", change.format("IS NULL", "IS NOT NULL"))
    report = check_memory(filled)
    assert kinds(report) == {("damaged index", None)}
    assert check_memory(filled, repair=True).ok


def test_a_damaged_schema_is_said(filled):
    edit(filled, "DROP TABLE removed")
    for repair in (False, True):
        report = check_memory(filled, repair=repair)
        assert {finding.fault for finding in report.findings} == {"damaged schema", "missing schema"}


def test_a_full_text_index_that_lacks_a_text(filled):
    edit(filled, "INSERT INTO words (words, rowid, text) VALUES ('delete', 3, 'document number 2')")
    assert kinds(check_memory(filled)) == {("wrong full-text index", None)}
    assert check_memory(filled, repair=True).ok


def test_a_memory_that_is_none(tmp_path):
    with pytest.raises(StorageError, match="no memory"):
        check_memory(tmp_path / "none")


def test_every_flipped_byte_that_matters_is_found(template, encoder, tmp_path):
    """Bytes flipped anywhere in the database: said by the check, or else every document is as it was."""

    def content(folder):
        with Memory.open(folder, encoder=encoder, read_only=True) as memory:
            documents = [(document.id, document.text, document.metadata) for document in memory]
            hits = [(hit.id, hit.score) for hit in memory.search("number 7", k=99)]
            return documents, hits, len(memory.search("number", k=99, where={"tags": "b"}))

    expected = content(template)
    original = (template / FILE_NAME).read_bytes()
    generator = random.Random(11)
    found = 0
    for attempt in range(60):
        folder = tmp_path / str(attempt)
        shutil.copytree(template, folder)
        damaged = bytearray(original)
        for _ in range(3):
            damaged[generator.randrange(len(damaged))] ^= generator.randrange(1, 256)
        (folder / FILE_NAME).write_bytes(damaged)
        try:
            ok = check_memory(folder).ok
        except (StorageError, IntegrityError):
            ok = False
        if ok:
            assert content(folder) == expected
        found += not ok
        shutil.rmtree(folder)
    assert found > 30
