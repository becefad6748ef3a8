"""What every command does alike: JSON on standard output, one line for an error, and the exit code."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from zenso.errors import InputError, ZensoError

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


# Control characters, which in a document may be a terminal's commands, become the pictures Unicode has for them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD), **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)}


def printable(text: str) -> str:
    """Return text that does nothing to a terminal and can be encoded: for whatever comes from files and arguments."""
    return text.translate(_PICTURES)


def note(message: str) -> None:
    """Print one line on standard error."""
    typer.echo(" ".join(printable(message).split()), err=True)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON on standard output; dataclasses become objects, paths become strings.

    Without ``indent`` it is one line.
    """
    text = json.dumps(value, default=_plain, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # A lone surrogate, or a terminal that is not UTF-8: escapes say the same in ASCII.
        text = json.dumps(value, default=_plain, indent=indent)
    typer.echo(text)


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever json.dumps can go on with
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def fail(error: BaseException | str) -> NoReturn:
    """Print `error: ...` as one line on standard error and leave with exit code 1."""
    message = " ".join(str(error).split()) or type(error).__name__
    # Not through rich, which would wrap the line to the width of the terminal.
    typer.echo(f"error: {message.encode('utf-8', 'backslashreplace').decode()}", err=True)
    raise typer.Exit(EXIT_ERROR)


@contextmanager
def handle_errors() -> Iterator[None]:
    """Run a command's body: a ZensoError becomes one line and exit code 1, Ctrl-C becomes exit code 130.

    Usable as `with handle_errors():` or, below the line that registers the command, as `@handle_errors()`.
    """
    try:
        yield
    except ZensoError as error:
        fail(error)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def require_memory(path: Path) -> None:
    """Refuse to use what does not exist, rather than make an empty memory there."""
    from zenso.memory.database import FILE_NAME  # noqa: PLC0415 - `zenso --help` does not wait for it

    try:
        missing = not (path / FILE_NAME).exists()
    except OSError:
        return  # opening it says what is wrong
    if missing and not path.is_file():
        raise InputError(f"no memory at {path}; make one with: zenso index PATH --memory {path}")
