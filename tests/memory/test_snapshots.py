"""Snapshots are complete, checked and of one state; restoring one is all or nothing."""

import json
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from tests.memory.test_concurrency import WRITER
from tests.memory.version_1 import make_memory
from zenso.errors import InputError, IntegrityError, StorageError
from zenso.memory import Memory, list_snapshots, restore, upkeep
from zenso.memory.database import FILE_NAME
from zenso.memory.migrations import SCHEMA_VERSION
from zenso.memory.snapshots import MANIFEST_NAME, check_snapshot, prune_snapshots
from zenso.memory.verify import verify_memory


@pytest.fixture
def target(tmp_path):
    return tmp_path / "snapshots"


@pytest.fixture
def filled(folder, encoder, small_segments):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add([f"text {n}" for n in range(20)], ids=[str(n) for n in range(20)])
    return folder


def ids(folder, encoder):
    """The ids of a memory, found both by listing and by searching."""
    with Memory.open(folder, encoder=encoder) as memory:
        found = sorted(hit.id for hit in memory.search("text", k=999))
        assert found == sorted(memory.ids())
        return found


def test_to_a_point_and_back(filled, encoder, target):
    with Memory.open(filled, encoder=encoder) as memory:
        first = memory.backup(target)
        before = [(document.id, document.text) for document in memory]
        memory.delete(["3", "4"])
        memory.add("written later", ids="later")
        second = memory.backup(target)
        assert list_snapshots(target) == [first, second]
        assert (first.documents, second.documents) == (20, 19)
        assert (first.memory, first.schema_version) == (filled.name, SCHEMA_VERSION)
        assert second.generation > first.generation
        memory.search("text")  # has a view of the state that is replaced
        restore(first.path, filled, force=True)
        assert [(document.id, document.text) for document in memory] == before
        assert sorted(hit.id for hit in memory.search("text", k=99)) == sorted(name for name, _ in before)
        # The rows of the abandoned future are given out again, to other documents.
        memory.add("what happened instead", ids="instead")
        assert memory.search("what happened instead", k=1)[0].id == "instead"
        assert len(memory.search("text", k=99)) == 21
    restore(second.path, filled, force=True)
    assert "later" in ids(filled, encoder)
    assert verify_memory(filled, encoder).ok


def test_into_a_new_folder(filled, encoder, target, tmp_path):
    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
    new = tmp_path / "a" / "new.zenso"
    assert restore(snapshot.path, new) == snapshot
    assert ids(new, encoder) == ids(filled, encoder)
    assert list((new / "codes").iterdir())
    empty = tmp_path / "empty"
    empty.mkdir()
    restore(snapshot.path, empty)
    assert ids(empty, encoder) == ids(filled, encoder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", filled.name, "snapshots"]


def test_a_snapshot_can_be_searched_as_it_is(filled, encoder, target):
    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
    with Memory.open(snapshot.path, encoder=encoder, read_only=True) as memory:
        assert memory.search("text 7", k=1)[0].id == "7"
    check_snapshot(snapshot)


def test_nothing_is_overwritten_without_force(filled, encoder, target, tmp_path):
    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
        memory.add("written since", ids="new")
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"cat")
    for path, force in ((filled, False), (other, False), (other, True), (other / "cat.jpg", False)):
        with pytest.raises(StorageError, match="not empty"):
            restore(snapshot.path, path, force=force)
    assert "new" in ids(filled, encoder)
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]


def test_a_damaged_snapshot_is_refused(filled, encoder, target, tmp_path):
    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
    database, manifest = snapshot.path / FILE_NAME, snapshot.path / MANIFEST_NAME
    good_database, good_manifest = database.read_bytes(), manifest.read_bytes()
    for position in (30, 5000, len(good_database) - 1):
        content = bytearray(good_database)
        content[position] ^= 1
        database.write_bytes(content)
        with pytest.raises(IntegrityError, match="does not hash"):
            restore(snapshot.path, filled, force=True)
    database.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        restore(snapshot.path, filled, force=True)
    database.write_bytes(good_database)
    for content in (b"", b"[]", b"\xff", good_manifest.replace(b'"documents": 20', b'"documents": 21')):
        manifest.write_bytes(content)
        with pytest.raises(IntegrityError, match=MANIFEST_NAME):
            restore(snapshot.path, filled, force=True)
    newer = json.loads(good_manifest) | {"format": "zenso-snapshot/9"}
    manifest.write_text(json.dumps(newer))
    with pytest.raises(IntegrityError, match="upgrade"):
        restore(snapshot.path, filled, force=True)
    assert len(ids(filled, encoder)) == 20


def test_a_folder_that_is_no_snapshot(filled, encoder, target, tmp_path):
    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
    with pytest.raises(InputError, match=f"the newest is {snapshot.path}"):
        restore(target, tmp_path / "new")
    for path in (tmp_path / "none", filled):
        with pytest.raises(InputError, match="no snapshot"):
            restore(path, tmp_path / "new")
    with pytest.raises(InputError, match="no folder"):
        list_snapshots(tmp_path / "none")
    assert not (tmp_path / "new").exists()


def damage_a_page(file):
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [damage_a_page, lambda file: file.write_bytes(b"not a database " * 500), lambda file: file.write_bytes(b"")],
)
def test_a_damaged_memory_is_replaced(filled, encoder, target, damage):
    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
        expected = sorted(memory.ids())
    damage(filled / FILE_NAME)
    restore(snapshot.path, filled, force=True)
    assert ids(filled, encoder) == expected


def test_a_snapshot_of_an_older_version_is_brought_up_to_date(encoder, tmp_path, target):
    old = tmp_path / "old"
    make_memory(old, encoder, [("a", "Bread needs flour.", {}, None)])
    with Memory.open(old, encoder=encoder):
        pass
    (snapshot,) = list_snapshots(old / "backups")
    assert snapshot.schema_version == 1
    new = tmp_path / "new"
    restore(snapshot.path, new)
    assert ids(new, encoder) == ["a"]
    check_snapshot(snapshot)
    assert not (new / "backups").exists()


def test_only_the_newest_are_kept(filled, encoder, target):
    with Memory.open(filled, encoder=encoder) as memory:
        taken = [memory.backup(target) for _ in range(4)]
    assert prune_snapshots(target, 2) == [snapshot.path for snapshot in taken[:2]]
    assert list_snapshots(target) == taken[2:]
    assert len(list(target.iterdir())) == 2


def test_taken_while_others_write(folder, encoder, child, target):
    """Each snapshot is of a committed state: pairs that are added and deleted together are whole."""
    writer = child(WRITER, folder, 0, 0)
    writer.stdout.readline()
    with Memory.open(folder, encoder=encoder) as memory:
        snapshots = [memory.backup(target) for _ in range(5)]
    writer.kill()
    states = []
    for snapshot in snapshots:
        with closing(sqlite3.connect(snapshot.path / FILE_NAME)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            numbers = sorted(int(row[0].split("-")[0]) for row in connection.execute("SELECT id FROM documents"))
            assert connection.execute("SELECT generation FROM state").fetchone() == (snapshot.generation,)
        assert numbers[::2] == numbers[1::2]
        assert len(numbers) == snapshot.documents
        states.append(numbers)
    assert states[0] != states[-1]


def test_restored_while_another_searches(filled, encoder, target):
    """A reader sees one state or the other: 20 documents, or one."""
    with Memory.open(filled, encoder=encoder) as memory:
        many = memory.backup(target)
        memory.delete([str(n) for n in range(1, 20)])
        one = memory.backup(target)
    seen, errors, stop = set(), [], threading.Event()

    def search():
        try:
            with Memory.open(filled, encoder=encoder, read_only=True) as reader:
                while not stop.is_set():
                    seen.add(len(reader.search("text", k=99)))
        except BaseException as error:  # noqa: BLE001 - reported by the test
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        restore(many.path, filled, force=True)
        restore(one.path, filled, force=True)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen <= {1, 20}


def test_a_full_disk_leaves_nothing_behind(filled, encoder, target, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    with Memory.open(filled, encoder=encoder) as memory:
        snapshot = memory.backup(target)
        monkeypatch.setattr("zenso.memory.snapshots.synchronise", refuse)
        with pytest.raises(StorageError, match=f"no space left for {target}"):
            memory.backup(target)
        assert list_snapshots(target) == [snapshot]
        assert len(list(target.iterdir())) == 1
        monkeypatch.setattr(shutil, "copyfile", refuse)
        with pytest.raises(StorageError, match="no space"):
            restore(snapshot.path, filled, force=True)
    assert upkeep.SEGMENT_ROWS == 8
    assert len(ids(filled, encoder)) == 20
    assert len(list(filled.parent.iterdir())) == 2
