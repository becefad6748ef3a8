"""Texts given one a line, in a file or on standard input."""

import sys
from dataclasses import dataclass
from pathlib import Path

from zenso.cli.output import note
from zenso.errors import InputError, StorageError


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has text, and its number in the file, from 1."""

    number: int
    text: str


def read_lines(source: str) -> list[Line]:
    """Read the lines of a file, or of standard input for ``-``; blank ones are left out.

    Raises
    ------
    InputError
        There is no such file, it is not text, or holds none.
    StorageError
        It cannot be read.
    """
    from zenso.memory.ingest.encoding import UndecodableError, decode  # noqa: PLC0415 - `--help` does not wait for it

    name = "standard input" if source == "-" else source
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the path, or give - for standard input") from error
    except OSError as error:
        raise StorageError(f"{name} cannot be read ({error.strerror}); check the path and its mode") from error
    try:
        text, warning = decode(data)
    except UndecodableError as error:
        raise InputError(f"{name}: {error}") from error
    if warning:
        note(f"warning: {name}: {warning}")
    lines = [Line(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise InputError(f"{name} holds no text; give at least one line that is not blank")
    return lines


def given_or_read(given: list[str] | None, source: str | None, what: str) -> list[Line]:
    """Return the texts given as arguments, or else those of `--from`.

    Raises
    ------
    InputError
        Both or neither were given, or as `read_lines`.
    """
    if source is not None and given:
        raise InputError(f"{what} are given both as arguments and with --from {source}; give one of the two")
    if source is not None:
        return read_lines(source)
    if not given:
        raise InputError(f"no {what}; give them as arguments, or one a line with --from FILE (- for standard input)")
    return [Line(number, text) for number, text in enumerate(given, start=1)]
