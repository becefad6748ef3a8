import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from zenso.errors import InputError
from zenso.memory.ingest import Skipped, read_file, walk

NOBODY = 65_534
needs_links = pytest.mark.skipif(os.name != "posix", reason="links and modes are a matter of POSIX")


@pytest.fixture
def tree(tmp_path):
    """A function that makes files below an empty folder, and the folder."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")
        return tmp_path

    return make


def names(items, root):
    return [str(item.relative_to(root)) for item in items if isinstance(item, Path)]


def reasons(items):
    return {item.path.name: item.reason for item in items if isinstance(item, Skipped)}


def test_folders_are_walked_depth_first_in_sorted_order(tree):
    root = tree("b.txt", "a/z.md", "a/b/c.py", "c.txt", "B.txt", "README")
    assert names(walk([root]), root) == ["B.txt", "README", "a/b/c.py", "a/z.md", "b.txt", "c.txt"]


def test_what_tools_make_is_passed_over(tree):
    root = tree(
        "kept.txt", ".hidden.txt", ".git/config.txt", "__pycache__/a.py", "node_modules/m/a.js", "notes.zenso/a.json",
        "environment/pyvenv.cfg", "environment/lib/a.py", "cache/CACHEDIR.TAG", "cache/a.txt",
    )  # fmt: skip
    items = list(walk([root]))
    assert names(items, root) == ["kept.txt"]
    assert reasons(items) == {}


def test_files_without_a_reader_are_skipped_unless_named(tree):
    root = tree("picture.png", "kept.txt")
    items = list(walk([root]))
    assert names(items, root) == ["kept.txt"]
    assert "no reader for .png" in reasons(items)["picture.png"]
    assert list(walk([root / "picture.png"])) == [root / "picture.png"]


def test_a_hidden_folder_given_by_name_is_walked(tree):
    root = tree(".notes/a.txt")
    assert names(walk([root / ".notes"]), root) == [".notes/a.txt"]


def test_each_file_comes_once(tree):
    root = tree("a/b.txt")
    assert names(walk([root, root / "a", str(root / "a" / "b.txt"), root / "a" / ".." / "a"]), root) == ["a/b.txt"]


@pytest.mark.parametrize("name", ["gone", "a.txt/below", "nul\0", "x" * 5_000])
def test_a_path_that_does_not_exist_is_named_before_anything_is_read(tree, name):
    root = tree("a.txt")
    with pytest.raises(InputError, match="no such file or folder") as caught:
        walk([root, root / name])
    assert name[:4] in str(caught.value)


@needs_links
def test_links(tree, tmp_path_factory):
    root = tree("a/inside.txt")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("text")
    (root / "a" / "loop").symlink_to(root)
    (root / "far").symlink_to(outside)
    (root / "leaving.txt").symlink_to(outside / "secret.txt")
    (root / "nothing.txt").symlink_to(root / "gone")
    (root / "self.txt").symlink_to(root / "self.txt")
    (root / "z_same.txt").symlink_to(root / "a" / "inside.txt")
    items = list(walk([root]))
    assert names(items, root) == ["a/inside.txt"]
    found = reasons(items)
    assert set(found) == {"loop", "far", "leaving.txt", "nothing.txt", "self.txt"}
    assert "leads out" in found["leaving.txt"]
    assert list(walk([root / "far"])) == [root / "far" / "secret.txt"]


@needs_links
def test_a_pipe_is_not_opened(tree):
    root = tree("a.txt")
    os.mkfifo(root / "pipe.txt")
    assert "not a regular file" in reasons(walk([root]))["pipe.txt"]
    assert "neither a file nor a folder" in reasons(walk([root / "pipe.txt"]))["pipe.txt"]


@contextmanager
def without_privileges():
    """Run as a user for whom modes count: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError as error:
        pytest.skip(f"cannot give up root's privileges here: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


@needs_links
def test_what_may_not_be_read_is_skipped_with_a_remedy():
    # Not below tmp_path, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name in ("locked", "listed", "open"):
            (root / name).mkdir()
            (root / name / "a.txt").write_text("text")
        (root / "closed.txt").write_text("text")
        (root / "locked").chmod(0)
        (root / "listed").chmod(0o444)
        (root / "closed.txt").chmod(0)
        with without_privileges():
            items = list(walk([root]))
            alone = list(walk([root / "locked"]))
            below = list(walk([root / "locked" / "a.txt"]))
            closed = list(read_file(root / "closed.txt"))
        for name in ("locked", "listed"):
            (root / name).chmod(0o755)
    assert names(items, root) == ["closed.txt", "open/a.txt"]
    assert {(item.path.relative_to(root).as_posix(), item.reason) for item in items if isinstance(item, Skipped)} == {
        ("locked", "no permission to read it; change its mode or run as a user who may"),
        ("listed/a.txt", "no permission to read it; change its mode or run as a user who may"),
    }
    assert [type(item) for item in alone + below + closed] == [Skipped] * 3
