"""`zenso keys`: who may use a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from zenso.cli.options import AsJson
from zenso.cli.output import handle_errors, note, print_json, printable

if TYPE_CHECKING:
    from zenso.server import Key, KeyFile

keys_app = typer.Typer(help="The keys of `zenso serve`: make, list and revoke them.", no_args_is_help=True)

KeysPath = Annotated[
    Path | None, typer.Option("--keys", metavar="FILE", help="Where they are.", show_default="in the user's settings")
]


@keys_app.command()
@handle_errors()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose or what it is; it is in the server's log.")],
    scope: Annotated[
        Literal["read", "write", "admin"],
        typer.Option(help="read: search and embed; write: also change documents; admin: also make memories."),
    ],
    days: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How long it is good.", show_default="until revoked")
    ] = None,
    *,
    keys: KeysPath = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, which happens only this once. A running server knows it at once."""
    from zenso.server import Scope  # noqa: PLC0415 - `zenso --help` does not wait for it

    file = _open(keys)
    key, text = file.create(name, Scope(scope), days)
    if as_json:
        print_json({**_shown(key), "key": text, "file": file.path})
        return
    typer.echo(text)
    note(f"this key is not shown again; {file.path} has only its hash")


@keys_app.command("list")
@handle_errors()
def list_keys(*, keys: KeysPath = None, as_json: AsJson = False) -> None:
    """List the keys, without what makes them keys."""
    shown = [_shown(key) for key in _open(keys).list()]
    if as_json:
        print_json(shown)
        return
    table = Table("name", "id", "scope", "created", "expires", highlight=False)
    for key in shown:
        expires = f"{key['expires'] or 'never'}{' (over)' if key['expired'] else ''}"
        table.add_row(escape(printable(key["name"])), key["id"], key["scope"], key["created"], expires)
    Console().print(table)


@keys_app.command()
@handle_errors()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a key.")],
    *,
    keys: KeysPath = None,
    as_json: AsJson = False,
) -> None:
    """Remove a key. A running server refuses it at once; when it was the last one, it refuses everybody."""
    file = _open(keys)
    key = file.revoke(name)
    left = len(file.list())
    if as_json:
        print_json({**_shown(key), "left": left})
        return
    typer.echo(f"revoked {printable(key.name)}; {left} left")
    if not left:
        note(f"servers with {file.path} let nobody in now; to serve this machine without keys, remove the file")


def _open(path: Path | None) -> "KeyFile":
    from zenso.server import DEFAULT_KEYS, KeyFile  # noqa: PLC0415 - `zenso --help` does not wait for it

    return KeyFile(path or DEFAULT_KEYS)


def _shown(key: "Key") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope.value,
        "created": key.created,
        "expires": key.expires,
        "expired": key.is_expired,
    }
