"""Turns a file into sections of text, by the reader that fits its name."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from zenso.errors import InputError
from zenso.memory.ingest import formats
from zenso.memory.ingest.encoding import UndecodableError, decode, shown
from zenso.memory.ingest.readers.markup import read_html
from zenso.memory.ingest.readers.pdf import read_pdf
from zenso.memory.ingest.readers.records import read_delimited, read_json_lines
from zenso.memory.ingest.sections import ReadWarning, Section, Skipped

_READERS: Final[tuple[tuple[frozenset[str], Callable[[Path, bytes], Iterator[Section | ReadWarning]]], ...]] = (
    (formats.HTML, read_html),
    (formats.PDF, read_pdf),
    (formats.JSON_LINES, read_json_lines),
    (formats.DELIMITED, read_delimited),
)

MAX_FILE_BYTES: Final = 50_000_000
"""Larger files are skipped unless the caller says otherwise: they are dumps and logs more often than documents."""


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> Iterator[Section | ReadWarning | Skipped]:
    """Yield the sections of a file that have text, and what went wrong on the way.

    A file that is not for reading (too large, binary, no permission) gives one `Skipped`; a part that had to be left
    out or changed gives a `ReadWarning`. The kind of file is told by its suffix; a file of unknown suffix is read as
    plain text if it is text. An empty file gives nothing.

    Parameters
    ----------
    path
        A regular file.
    max_bytes
        Files with more bytes are skipped.

    Raises
    ------
    InputError
        While iterating: the file does not exist, or its format is damaged or encrypted. The message names the file.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            yield Skipped(path, f"{size:,} bytes, more than the limit of {max_bytes:,}; split it or raise the limit")
            return
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{shown(path)}: no such file; check the path") from error
    except OSError as error:
        yield Skipped(path, unreadable(error))
        return
    try:
        for item in _read(path, data):
            if not isinstance(item, Section) or item.text.strip():
                yield item
    except UndecodableError as error:
        yield Skipped(path, str(error))


def unreadable(error: OSError) -> str:
    """Reason of a `Skipped` for what the operating system refuses."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "no permission to read it; change its mode or run as a user who may"
    return f"cannot be read ({error.strerror or error})"


def _read(path: Path, data: bytes) -> Iterator[Section | ReadWarning]:
    suffix = path.suffix.lower()
    for suffixes, reader in _READERS:
        if suffix in suffixes:
            return reader(path, data) if data else iter(())
    return _read_text(path, data)


def _read_text(path: Path, data: bytes) -> Iterator[Section | ReadWarning]:
    suffix = path.suffix.lower()
    text, warning = decode(data)
    if warning is not None:
        yield ReadWarning(path, warning)
    if suffix in formats.LANGUAGES:
        yield Section(text, {"language": formats.LANGUAGES[suffix]}, "code")
    else:
        yield Section(text, {}, "markdown" if suffix in formats.MARKDOWN else "prose")
