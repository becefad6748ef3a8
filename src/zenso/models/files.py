"""Files on disk held to their SHA-256: checking them, remembering the check, and writing only what passes it."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from zenso.atomic_file import replacing
from zenso.errors import IntegrityError, ModelError, StorageError
from zenso.models.catalogue import ModelEntry, ModelFile

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What was found where a model's file should be; `sha256` and `size` are None when nothing could be read."""

    file: ModelFile
    path: Path
    sha256: str | None
    size: int | None
    unreadable: str = ""

    @property
    def ok(self) -> bool:
        """Whether the file is there and has the right bytes."""
        return self.sha256 == self.file.sha256

    @property
    def damaged(self) -> bool:
        """Whether the file is there and has the wrong bytes."""
        return self.sha256 is not None and not self.ok

    @property
    def missing(self) -> bool:
        """Whether there is no such file."""
        return self.sha256 is None and not self.unreadable

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, or None."""
        if self.ok:
            return None
        if self.sha256 is None:
            return f"{self.path} is missing" if self.missing else f"{self.path} cannot be read ({self.unreadable})"
        return mismatch(self.file, str(self.path), self.sha256, f"{self.size} bytes")


def mismatch(file: ModelFile, source: str, sha256: str, size: str) -> str:
    """Say that a file from a source has the wrong hash: every message about it has these words and both digests."""
    expected = f"{file.sha256} ({file.size} bytes)"
    return f"wrong SHA-256 of {file.name} from {source}: expected {expected}, found {sha256} ({size})"


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn a refusal of the disk that holds `path` into a StorageError that names the remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; "
            "free some space there, or set ZENSO_CACHE to a folder that can be written"
        ) from error


class SourceError(ModelError):
    """One source of a model cannot give it; another one may."""


def chunks_of(stream: IO[bytes], source: str) -> Iterator[bytes]:
    """Read a stream to its end in pieces of at most 1 MiB; a stream that cannot be read raises SourceError."""
    while True:
        try:
            chunk = stream.read(CHUNK)
        except OSError as error:
            raise SourceError(f"{source} cannot be read: {error.strerror or error}") from error
        if not chunk:
            return
        yield chunk


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in lower-case hexadecimal; raises OSError when it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_file(file: ModelFile, path: Path) -> FileCheck:
    """Read a whole file and compare it with the catalogue; never raises."""
    try:
        return FileCheck(file, path, sha256_of(path), path.stat().st_size)
    except FileNotFoundError:
        return FileCheck(file, path, None, None)
    except OSError as error:
        return FileCheck(file, path, None, None, error.strerror or str(error))


def check_folder(entry: ModelEntry, folder: Path, record: Path | None = None) -> list[FileCheck]:
    """Check every file of a model in a folder, in the catalogue's order; never raises.

    With a `record` (a JSON file), a file whose size and modification time are those of its last full check is not read
    again: hashing 90 MB on every use would cost about 100 ms. A record that is missing, torn or cannot be written
    only costs that time.
    """
    known = _read_record(record) if record else {}
    checks, learnt = [], {}
    for file in entry.files:
        path = folder / file.name
        before = _stamp(path)
        if _is_known(known, file, path):
            checks.append(FileCheck(file, path, file.sha256, file.size))
            continue
        check = check_file(file, path)
        checks.append(check)
        # A file that changed while it was read is not remembered.
        if check.ok and before is not None and before == _stamp(path):
            learnt[str(path.absolute())] = {**before, "sha256": file.sha256}
    if record and learnt:
        _write_record(record, {**known, **learnt})
    return checks


def was_verified(file: ModelFile, path: Path, record: Path) -> bool:
    """Whether a file had the right bytes when it was last read for a record and is unchanged; it is not read."""
    return _is_known(_read_record(record), file, path)


def _is_known(known: dict[str, Any], file: ModelFile, path: Path) -> bool:
    stamp = _stamp(path)
    return stamp is not None and known.get(str(path.absolute())) == {**stamp, "sha256": file.sha256}


def _stamp(path: Path) -> dict[str, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _read_record(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_record(record: Path, content: dict[str, Any]) -> None:
    # The record only saves time, and a cache that is shared and read-only is a good cache.
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record) as file:
            file.write(json.dumps(content, indent=1).encode())


def write_verified(chunks: Iterable[bytes], file: ModelFile, target: Path, source: str) -> None:
    """Write a file if and only if its bytes are the catalogue's; `target` appears whole or not at all.

    At most one chunk more than the expected size is read, so a source cannot fill the disk. `chunks` has to turn
    errors of its own reading into a ZensoError, as `chunks_of` does; an OSError is taken for one of writing.

    Raises
    ------
    IntegrityError
        The bytes are others; nothing is left behind.
    StorageError
        The disk refuses.
    """
    digest, size = hashlib.sha256(), 0
    with disk(target), replacing(target) as output:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            if size > file.size:
                raise IntegrityError(mismatch(file, source, "a longer file", f"at least {size} bytes"))
            output.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise IntegrityError(mismatch(file, source, digest.hexdigest(), f"{size} bytes"))


def copy_verified(path: Path, file: ModelFile, folder: Path, source: str) -> Path:
    """Copy a file into a folder if and only if its bytes are the catalogue's, and return the copy.

    Raises
    ------
    SourceError
        The file cannot be read.
    IntegrityError, StorageError
        As `write_verified` does.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    with stream:
        write_verified(chunks_of(stream, str(path)), file, folder / file.name, source)
    return folder / file.name
