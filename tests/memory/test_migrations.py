"""Memories of older versions are brought up to date, once, after a snapshot was taken of them."""

import sqlite3
from contextlib import closing

import pytest

from tests.memory.version_1 import make_memory
from zenso.errors import StorageError
from zenso.memory import Memory, migrations, schema
from zenso.memory.database import FILE_NAME
from zenso.memory.migrations import BACKUP_FOLDER, SCHEMA_VERSION
from zenso.memory.snapshots import check_snapshot, list_snapshots
from zenso.memory.verify import verify_memory

DOCUMENTS = [
    ("a", "Bread needs flour.", {"lang": "en", "year": 1999}, None),
    ("b", "Tomatoes want sun.", {"lang": "en", "tags": ["red", "round"]}, b"/garden.txt"),
    ("c", "Ein Wal auf hoher See.", {"lang": "de"}, b"/garden.txt"),
]


@pytest.fixture
def old(folder, encoder):
    make_memory(folder, encoder, DOCUMENTS)
    return folder


def schema_of(folder):
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        return [(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows]


def version_of(folder, file=FILE_NAME):
    with closing(sqlite3.connect(folder / file)) as connection:
        return migrations.version_of(connection)


def test_a_memory_of_version_1_is_brought_up_to_date(old, encoder, tmp_path):
    with Memory.open(old, encoder=encoder) as memory:
        assert [(d.id, d.text, d.metadata) for d in memory] == [document[:3] for document in DOCUMENTS]
        assert memory.search("sun for tomatoes", k=1, where={"tags": "red"})[0].id == "b"
        assert [(source.path, source.documents) for source in memory.sources()] == [("/garden.txt", 2)]
        assert memory.info().schema_version == SCHEMA_VERSION
        memory.add("one more", ids="d")
        memory.delete("a")
        assert sorted(hit.id for hit in memory.search("more", k=9)) == ["b", "c", "d"]
    assert verify_memory(old, encoder).ok
    with Memory.open(tmp_path / "new"):
        pass
    assert schema_of(old) == schema_of(tmp_path / "new")


def test_a_snapshot_is_taken_before(old, encoder):
    for _ in range(2):  # the second time there is nothing to do
        with Memory.open(old, encoder=encoder) as memory:
            memory.add("written since", ids="new")
        (snapshot,) = list_snapshots(old / BACKUP_FOLDER)
    assert (snapshot.schema_version, snapshot.documents, snapshot.generation) == (1, 3, 7)
    file = check_snapshot(snapshot)
    assert version_of(file.parent) == 1
    with closing(sqlite3.connect(file)) as connection:
        assert [row[0] for row in connection.execute("SELECT id FROM documents ORDER BY seq")] == ["a", "b", "c"]


def test_reading_only_says_what_to_do(old):
    with pytest.raises(StorageError, match=r"older Zenso \(memory version 1.*open it once for writing"):
        Memory.open(old, read_only=True)
    assert version_of(old) == 1


def test_a_step_that_fails_changes_nothing(old, encoder, monkeypatch):
    def fail(connection):
        migrations._to_version_2(connection)
        raise OSError(28, "No space left on device")

    before = schema_of(old)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_STEPS", (fail,))
        with pytest.raises(StorageError, match="no space"):
            Memory.open(old)
    assert version_of(old) == 1
    assert schema_of(old) == before
    with Memory.open(old, encoder=encoder) as memory:
        assert len(memory) == 3


def test_without_space_for_the_snapshot_nothing_is_migrated(old, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migrations, "take_snapshot", refuse)
    with pytest.raises(StorageError, match="no space"):
        Memory.open(old)
    assert version_of(old) == 1


def test_steps_are_taken_in_order(old, encoder, monkeypatch):
    """One more step, as the next version will have: it runs after those before, and the database says how far it is."""

    def next_step(connection):
        assert connection.execute("SELECT epoch FROM state").fetchone() == (0,)
        connection.execute("CREATE TABLE later (one)")

    steps = (*migrations._STEPS, next_step)
    monkeypatch.setattr(migrations, "_STEPS", steps)
    for module in (migrations, schema):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 1 + len(steps))
    with Memory.open(old, encoder=encoder) as memory:
        assert len(memory) == 3
    assert version_of(old) == 1 + len(steps)
    assert len(list_snapshots(old / BACKUP_FOLDER)) == 1


def test_several_processes_at_once(old, child):
    script = """
        import sys
        from zenso.memory import Memory
        sys.stdin.readline()
        with Memory.open(sys.argv[1]) as memory:
            print(len(memory))
    """
    processes = [child(script, old) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "3\n")
    assert len(list_snapshots(old / BACKUP_FOLDER)) == 1
