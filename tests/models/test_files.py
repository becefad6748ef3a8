import hashlib
import os
import subprocess
import sys

import pytest

from zenso.errors import IntegrityError, StorageError
from zenso.models import ModelFile
from zenso.models.files import SourceError, check_file, check_folder, copy_verified, write_verified

DATA = b"some bytes"
FILE = ModelFile("a.bin", hashlib.sha256(DATA).hexdigest(), len(DATA))


def test_right_bytes_are_written_and_nothing_else(tmp_path):
    write_verified(iter([DATA[:4], DATA[4:]]), FILE, tmp_path / "a.bin", "here")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": DATA}


def test_wrong_bytes_leave_the_old_file(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    wrong = hashlib.sha256(b"other bytes"[:10]).hexdigest()
    with pytest.raises(IntegrityError, match=rf"a\.bin from there: expected {FILE.sha256}.*found {wrong}"):
        write_verified(iter([b"other byte"]), FILE, target, "there")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"old"}


def test_an_endless_source_is_cut_off(tmp_path):
    def endless():
        while True:
            yield bytes(1000)

    with pytest.raises(IntegrityError, match="a longer file"):
        write_verified(endless(), FILE, tmp_path / "a.bin", "there")
    assert not list(tmp_path.iterdir())


def test_no_folder_to_write_in(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="set ZENSO_CACHE"):
        write_verified(iter([DATA]), FILE, tmp_path / "file" / "a.bin", "here")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    size = 5_000_000
    code = f"""
import hashlib, pathlib, resource, signal
from zenso.errors import StorageError
from zenso.models import ModelFile
from zenso.models.files import write_verified
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
data = bytes({size})
file = ModelFile("a.bin", hashlib.sha256(data).hexdigest(), len(data))
try: write_verified((data[i:i + 65536] for i in range(0, len(data), 65536)), file, pathlib.Path("a.bin"), "here")
except StorageError as error: print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "cannot write a.bin: File too large" in result.stdout
    assert not list(tmp_path.iterdir())


def test_copy_of_a_folder_in_the_place_of_a_file(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        copy_verified(tmp_path, FILE, tmp_path, "here")


def test_check_tells_missing_from_damaged_from_unreadable(tmp_path):
    (tmp_path / "damaged").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    missing, damaged, unreadable = (check_file(FILE, tmp_path / name) for name in ("missing", "damaged", "folder"))
    assert (missing.missing, missing.damaged, missing.problem) == (True, False, f"{tmp_path}/missing is missing")
    assert (damaged.missing, damaged.damaged) == (False, True)
    assert hashlib.sha256(b"x").hexdigest() in damaged.problem
    assert (unreadable.missing, unreadable.damaged) == (False, False)
    assert "Is a directory" in unreadable.problem


def test_an_unchanged_file_is_not_read_again(tiny, model_folder, tmp_path):
    record = tmp_path / "verified.json"
    assert all(check.ok for check in check_folder(tiny, model_folder, record))
    path = model_folder / "config.json"
    before = path.stat()
    path.write_bytes(b"?" * before.st_size)
    assert not check_folder(tiny, model_folder, record)[0].ok, "a new modification time asks for a new hash"
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check_folder(tiny, model_folder, record)[0].ok, "the record is believed"
    assert not check_folder(tiny, model_folder)[0].ok, "without the record everything is read"


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"a": 1}', b"\xff\xfe", b"null"])
def test_a_torn_record_only_costs_time(tiny, model_folder, tmp_path, torn):
    record = tmp_path / "verified.json"
    record.write_bytes(torn)
    assert all(check.ok for check in check_folder(tiny, model_folder, record))
    assert str(model_folder / "config.json") in record.read_text()


def test_a_record_that_cannot_be_written_is_done_without(tiny, model_folder, tmp_path):
    (tmp_path / "file").touch()
    assert all(check.ok for check in check_folder(tiny, model_folder, tmp_path / "file" / "verified.json"))
