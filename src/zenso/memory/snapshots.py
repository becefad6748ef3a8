"""Snapshots: copies of a memory's database as it stood at one moment, each in a folder of its own.

A snapshot is a folder that holds ``memory.sqlite3``, which is complete without a write-ahead log, and
``manifest.json``, which says when and of what it was made and the BLAKE3 of the database. Its name is the moment in
UTC, so names sort by time. It is made under a temporary name and moved into place, so whatever has a name of that
form is complete. Segment files are not kept: they are rebuilt from the database.
"""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blake3 import blake3

from zenso.errors import InputError, IntegrityError
from zenso.memory.disk_errors import translated

DATABASE_NAME = "memory.sqlite3"
MANIFEST_NAME = "manifest.json"

_FORMAT = "zenso-snapshot/1"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_PAGES_AT_ONCE = 1024  # 4 MiB between two reports of progress
_TEMPORARY = ".tmp"

CopyProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the manifest of a snapshot says; ``path`` is its folder."""

    path: Path
    created: str  # ISO 8601, UTC
    memory: str  # name of the memory's folder
    documents: int
    generation: int  # write transactions of the memory until then
    model: str | None  # None if it held no document
    schema_version: int
    bytes: int  # of the database
    blake3: str  # of the database, hexadecimal


def take_snapshot(
    connection: sqlite3.Connection, memory: str, target: Path, on_progress: CopyProgress | None = None
) -> Snapshot:
    """Copy what the transaction of ``connection`` sees into a new folder below ``target``, which is made when missing.

    Other processes go on reading and writing meanwhile.

    Parameters
    ----------
    connection
        Inside a read transaction, which keeps the copy at one state and lets it end while others write.
    memory
        Name of the memory, for the manifest.
    on_progress
        Called with the pages copied and their total; what it raises ends the copy.

    Raises
    ------
    StorageError
        The disk refuses. Nothing is left behind then.
    """
    now = datetime.now(UTC)
    final = target.absolute() / f"{now:%Y%m%dT%H%M%S.%fZ}"
    with translated(final), _made_in_place(final) as folder:
        file = folder / DATABASE_NAME
        copy_database(connection, file, on_progress)
        snapshot = Snapshot(
            path=final,
            created=now.isoformat(),
            memory=memory,
            bytes=file.stat().st_size,
            blake3=_digest(file),
            **_facts(connection),
        )
        _write_synchronised(folder / MANIFEST_NAME, _manifest(snapshot))
    return snapshot


def copy_database(connection: sqlite3.Connection, file: Path, on_progress: CopyProgress | None = None) -> None:
    """Copy what the transaction of ``connection`` sees into a new file that needs no log beside it."""

    def report(_status: int, remaining: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total - remaining, total)

    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a transaction begins with its first read
    with closing(sqlite3.connect(file, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # it is synchronised once, at the end
        connection.backup(copy, pages=_PAGES_AT_ONCE, progress=report)
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    synchronise(file)


def list_snapshots(target: Path) -> list[Snapshot]:
    """Return the snapshots in a folder, oldest first; what is no snapshot is passed over.

    Raises
    ------
    InputError
        There is no such folder.
    IntegrityError
        A manifest is damaged.
    """
    if not target.is_dir():
        raise InputError(f"no folder {target}; give the folder that `zenso backup` wrote to")
    with translated(target):
        return [read_manifest(path) for path in sorted(target.absolute().iterdir()) if _NAME.fullmatch(path.name)]


def prune_snapshots(target: Path, keep: int) -> list[Path]:
    """Delete all but the newest ``keep`` snapshots of a folder and return the paths of those deleted."""
    old = [snapshot.path for snapshot in list_snapshots(target)][:-keep]
    for path in old:
        doomed = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
        with translated(path):
            path.rename(doomed)  # so that a half-deleted one has no name of a snapshot
            shutil.rmtree(doomed)
    return old


def read_manifest(path: Path) -> Snapshot:
    """Read the manifest of a snapshot, given as its folder.

    Raises
    ------
    InputError
        The folder is no snapshot.
    IntegrityError
        The manifest is damaged, or of a format this version does not know.
    """
    file = path / MANIFEST_NAME
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path} is no snapshot (it has no {MANIFEST_NAME}); {_advice(path)}") from error
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{file} is damaged ({error}); restore another snapshot") from error
    try:
        content: dict[str, Any] = json.loads(text)
        checksum, kind = content.pop("checksum"), content.pop("format")
        if kind == _FORMAT and checksum == _checksum({"format": kind, **content}):
            return Snapshot(path=path, **content)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise IntegrityError(f"{file} is damaged ({error}); restore another snapshot") from error
    if kind != _FORMAT:
        raise IntegrityError(f"{file} has the format {kind!r}, this Zenso reads {_FORMAT!r}; upgrade zenso")
    raise IntegrityError(f"{file} does not hash to its checksum; restore another snapshot")


def check_snapshot(snapshot: Snapshot) -> Path:
    """Return the path of a snapshot's database, which is what the manifest says.

    Raises
    ------
    IntegrityError
        It is missing or has other bytes.
    """
    file = snapshot.path / DATABASE_NAME
    try:
        digest = _digest(file)
    except FileNotFoundError as error:
        raise IntegrityError(f"{file} is missing; restore another snapshot") from error
    if digest != snapshot.blake3:
        raise IntegrityError(f"{file} does not hash to {snapshot.blake3}; restore another snapshot")
    return file


def synchronise(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice(path: Path) -> str:
    """Say which snapshot may have been meant by a folder that is none."""
    found = sorted(entry.name for entry in path.iterdir() if _NAME.fullmatch(entry.name)) if path.is_dir() else []
    if not found:
        return "give a folder that `zenso backup` made"
    return f"it holds {len(found)}, give one of them: the newest is {path / found[-1]}"


@contextmanager
def _made_in_place(final: Path) -> Iterator[Path]:
    """Give a temporary folder that gets its final name when the block ends, and is deleted if it raises."""
    folder = final.with_name(f".{final.name}.{os.getpid()}{_TEMPORARY}")
    folder.mkdir(parents=True)
    try:
        yield folder
        synchronise(folder)
        folder.rename(final)
        synchronise(final.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _facts(connection: sqlite3.Connection) -> dict[str, Any]:
    """Read what a manifest says of a memory of any version."""
    model = connection.execute(
        "SELECT json FROM provenance WHERE id IN (SELECT provenance FROM documents LIMIT 1)"
    ).fetchone()
    return {
        "documents": connection.execute("SELECT count(*) FROM documents").fetchone()[0],
        "generation": connection.execute("SELECT generation FROM state").fetchone()[0],
        "schema_version": connection.execute("PRAGMA user_version").fetchone()[0],
        "model": json.loads(model[0])["model"]["model_id"] if model else None,
    }


def _manifest(snapshot: Snapshot) -> str:
    content = {"format": _FORMAT, **asdict(snapshot)}
    del content["path"]
    return json.dumps({**content, "checksum": _checksum(content)}, indent=2) + "\n"


def _checksum(content: dict[str, Any]) -> str:
    """BLAKE3 of the canonical JSON of a manifest without its checksum."""
    return blake3(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _digest(file: Path) -> str:
    if not file.is_file():
        raise FileNotFoundError(file)
    return blake3(max_threads=blake3.AUTO).update_mmap(file).hexdigest()


def _write_synchronised(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
