"""The local cache: one folder a model, filled by one process at a time and read by any number."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from zenso.models.catalogue import ModelEntry
from zenso.models.files import disk

RECORD = "verified.json"
INCOMING = ".incoming"


def cache_folder(entry: ModelEntry) -> Path:
    """Folder of a model in the cache: below ZENSO_CACHE if that is set, else below the user's cache folder."""
    chosen = os.environ.get("ZENSO_CACHE")
    root = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("zenso", appauthor=False)
    return root / "models" / entry.name


@contextmanager
def filling(folder: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Hold the sole right to fill a model's folder, and give a folder for what is not yet verified.

    An advisory lock, rather than unique names alone, because a partial download that may be resumed has to have
    one name and one writer, and because the process that waited then finds the files and downloads nothing. The kernel
    drops the lock when its holder dies. Where a file system only pretends to lock, the hashes still decide.

    Raises
    ------
    StorageError
        The cache cannot be written.
    """
    with disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock_path = folder.with_name(f".{folder.name}.lock")
        lock = _acquire(lock_path, on_wait)
    try:
        incoming = folder / INCOMING
        with disk(folder):
            incoming.mkdir(parents=True, exist_ok=True)
        yield incoming
    finally:
        _remove_if_empty(folder / INCOMING)
        _remove_if_empty(folder)
        # Removed while it is held: whoever waits on it notices, and starts over with a new one.
        with suppress(OSError):
            lock_path.unlink()
        os.close(lock)


def _acquire(path: Path, on_wait: Callable[[], None]) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_open_file(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_open_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def move_into_place(files: list[Path], folder: Path) -> None:
    """Move verified files into a model's folder, each atomically, and make the move last through a power cut."""
    for path in files:
        with disk(folder / path.name):
            path.replace(folder / path.name)
    with disk(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def discard(folder: Path) -> None:
    """Remove everything that is not yet verified, as far as the disk allows."""
    shutil.rmtree(folder, ignore_errors=True)
