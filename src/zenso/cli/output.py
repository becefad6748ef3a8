"""What every command does alike: JSON on standard output, one line for an error, and the exit code."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from zenso.errors import ZensoError

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def print_json(value: object) -> None:
    """Print a value as JSON on standard output; dataclasses become objects, paths become strings."""
    text = json.dumps(value, default=_plain, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # A lone surrogate, or a terminal that is not UTF-8: escapes say the same in ASCII.
        text = json.dumps(value, default=_plain, indent=2)
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
