"""What the disk can do to a memory: foreign and damaged files, newer versions, no permission, no space."""

import os
import resource
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from zenso.errors import IntegrityError, StorageError
from zenso.memory import Memory
from zenso.memory.database import FILE_NAME

IS_ROOT = os.geteuid() == 0


def edit(folder, *statements):
    connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.fixture
def filled(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add(["first text", "second text"], ids=["1", "2"])
    return folder


def test_a_memory_of_a_newer_version(filled):
    edit(filled, "PRAGMA user_version = 99")
    before = (filled / FILE_NAME).read_bytes()
    for read_only in (False, True):
        with pytest.raises(StorageError, match=r"newer Zenso \(memory version 99.*upgrade"):
            Memory.open(filled, read_only=read_only)
    assert (filled / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database " * 500, b"x", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_not_a_database(folder, content):
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(content)
    with pytest.raises((StorageError, IntegrityError), match=FILE_NAME):
        Memory.open(folder)
    assert (folder / FILE_NAME).read_bytes() == content


def test_a_database_of_another_program(folder):
    folder.mkdir()
    edit(folder, "CREATE TABLE bookmarks (url)")
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(StorageError, match="not a Zenso memory"):
        Memory.open(folder)
    assert (folder / FILE_NAME).read_bytes() == before


def test_a_damaged_database_is_said(filled, encoder):
    path = filled / FILE_NAME
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises((IntegrityError, StorageError), match=FILE_NAME), Memory.open(filled, encoder=encoder) as memory:
        list(memory)


def test_an_interrupted_creation_is_finished(folder, encoder):
    folder.mkdir()
    (folder / FILE_NAME).touch()
    with pytest.raises(StorageError, match="holds no memory yet"):
        Memory.open(folder, read_only=True)
    with Memory.open(folder, encoder=encoder) as memory:
        assert memory.add("text", ids="a") == ["a"]


def test_parents_are_made_and_files_in_the_way_are_said(tmp_path):
    with Memory.open(tmp_path / "a" / "b" / "c ?#%20\u00fc.zenso") as memory:
        assert len(memory) == 0
    file = tmp_path / "file"
    file.write_text("here I am")
    for path in (file, file / "below"):
        with pytest.raises(StorageError, match="file"):
            Memory.open(path)
    (tmp_path / "d" / FILE_NAME).mkdir(parents=True)
    with pytest.raises(StorageError, match=FILE_NAME):
        Memory.open(tmp_path / "d")


# Uses everything once while the interpreter and the model may still be read, then goes on as a user without rights.
AS_NOBODY = """
    import os, sys, tempfile
    from zenso.errors import StorageError
    from zenso.memory import Memory, upkeep
    from zenso.zen import load_encoder
    encoder = load_encoder()
    upkeep.CLOSING_ROWS = 1
    with tempfile.TemporaryDirectory() as scratch:
        for text in ("warm up", "once more, with a segment"):
            with Memory.open(scratch, encoder=encoder) as memory:
                memory.add(text)
                memory.search(text)
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    folder = sys.argv[1]
    def refused(action):
        try:
            action()
        except StorageError as error:
            print("refused:", str(error).splitlines()[0])
"""


def make_read_only(folder):
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)


def test_a_read_only_folder_is_searched(shared_folder, encoder, ask, small_segments):
    folder = shared_folder / "notes"
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add([f"text {n}" for n in range(20)])
        expected = [hit.id for hit in memory.search("text 7", k=3)]
    script = """
    for read_only in (True, False):
        with Memory.open(folder, read_only=read_only, encoder=encoder) as memory:
            print(len(memory), *[hit.id for hit in memory.search("text 7", k=3)])
            refused(lambda: memory.add("more"))
            refused(lambda: memory.delete("more"))
    """
    make_read_only(folder)
    files = sorted(folder.rglob("*"))
    try:
        for damage in (False, True):
            if damage:
                segment = next(path for path in files if path.suffix == ".codes")
                segment.chmod(0o644)
                segment.write_bytes(b"torn")
            lines = ask(AS_NOBODY + script, folder)
            assert [line for line in lines if not line.startswith("refused")] == [" ".join(["20", *expected])] * 2
            assert len([line for line in lines if line.startswith("refused") and FILE_NAME in line]) == 4
            assert sorted(folder.rglob("*")) == files
        with Memory.open(folder, encoder=encoder) as live:
            if IS_ROOT:  # another user's reader beside a writer that goes on
                live.add("text written since", ids="new")
                script += """
    with Memory.open(folder, read_only=True, encoder=encoder) as memory:
        print("new" in memory, memory.search("written since", k=1)[0].id)
    """
                assert ask(AS_NOBODY + script, folder)[-1] == "True new"
    finally:
        folder.chmod(0o755)
        (folder / "codes").chmod(0o755)


def test_no_permission_names_the_path(shared_folder, encoder, ask):
    closed = shared_folder / "closed"
    with Memory.open(closed, encoder=encoder) as memory:
        memory.add("secret")
    closed.chmod(0)
    try:
        lines = ask(
            AS_NOBODY
            + """
    refused(lambda: Memory.open(folder + "/closed"))
    refused(lambda: Memory.open(folder + "/closed", read_only=True))
    refused(lambda: Memory.open(folder + "/closed/below"))
    refused(lambda: Memory.open("/proc/none/of/this"))
    if os.geteuid() == 65534:
        refused(lambda: Memory.open(folder + "/new"))
    """,
            shared_folder,
        )
    finally:
        closed.chmod(0o755)
    assert len(lines) == (5 if IS_ROOT else 4)
    assert all(str(closed) in line for line in lines[:3])
    assert all("permission" in line for line in lines[:2])


# Adds until the disk refuses; prints what was acknowledged, then shows that the same object works once there is space.
UNTIL_FULL = """
    import os, resource, sys
    from zenso.errors import StorageError
    from zenso.memory import Memory, upkeep
    upkeep.SEGMENT_ROWS = 16
    folder, limit = sys.argv[1], int(sys.argv[2])
    with Memory.open(folder) as memory:
        memory.add(["warm up"], ids=["warm"])
        print("warm")
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            for number in range(10_000):
                ids = [f"{number}-{part}" for part in range(3)]
                memory.add([f"text {name} " + "x" * 1000 for name in ids], ids=ids)
                print(*ids)
        except StorageError as error:
            print("refused:", error)
        assert memory.search("text")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for path in sys.argv[3:]:
            os.unlink(path)
        memory.add("there is space again", ids="again")
        print("again")
"""


def assert_complete(folder, lines, encoder):
    refused = [line for line in lines if line.startswith("refused:")]
    assert len(refused) == 1
    assert FILE_NAME in refused[0]
    assert "space" in refused[0]
    acknowledged = [name for line in lines if line not in refused for name in line.split()]
    assert len(acknowledged) > 10
    with Memory.open(folder, encoder=encoder) as memory:
        assert memory.ids() == acknowledged
        assert sorted(hit.id for hit in memory.search("text", k=10**6)) == sorted(acknowledged)
        with memory._database.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
@pytest.mark.parametrize("limit", [400_000, 1_000_003])
def test_a_limit_on_file_sizes(folder, encoder, ask, limit):
    assert_complete(folder, ask(UNTIL_FULL, folder, limit), encoder)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if not IS_ROOT or not mount:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full(small_disk, encoder, ask):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    folder = small_disk / "notes"
    assert_complete(folder, ask(UNTIL_FULL, folder, 0, ballast), encoder)


def test_creating_on_a_full_disk_leaves_nothing_half_made(small_disk, encoder):
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="space"):
        ballast.write_bytes(bytes(4_000_000))
    with pytest.raises(StorageError, match="space"):
        Memory.open(small_disk / "notes", encoder=encoder)
    ballast.unlink()
    with Memory.open(Path(small_disk) / "notes", encoder=encoder) as memory:
        assert memory.add("text", ids="a") == ["a"]
