"""`zenso backup`, `zenso snapshots` and `zenso restore`: copies of a memory, and the way back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

import zenso
from zenso.cli.options import AsJson
from zenso.cli.output import handle_errors, print_json, printable
from zenso.cli.progress import CountBar

if TYPE_CHECKING:
    from zenso.memory import Snapshot

Snapshots = Annotated[Path, typer.Argument(metavar="TARGET", help="The folder that holds the snapshots.")]


@handle_errors()
def backup(
    memory: Annotated[Path, typer.Argument(metavar="MEMORY", help="The memory: a folder.")],
    target: Snapshots,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=1, help="Then delete all but the newest N snapshots.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Take a snapshot of a memory, while it is used or not.

    Each snapshot is a folder below TARGET, named by the moment in UTC: a copy of the database as it stood then, and a
    manifest with its checksum. `zenso restore` puts it back.
    """
    from zenso.memory.snapshots import prune_snapshots  # noqa: PLC0415 - `zenso --help` does not wait for it

    with zenso.Memory.open(memory, read_only=True) as opened, CountBar("pages") as bar:
        snapshot = opened.backup(target, on_progress=bar)
    deleted = prune_snapshots(target, keep) if keep is not None else []
    if as_json:
        print_json({"snapshot": snapshot, "deleted": deleted})
        return
    typer.echo(_line(snapshot))
    for path in deleted:
        typer.echo(f"deleted {printable(str(path))}")


@handle_errors()
def snapshots(target: Snapshots, *, as_json: AsJson = False) -> None:
    """List the snapshots in a folder, oldest first."""
    from zenso.memory import list_snapshots  # noqa: PLC0415 - `zenso --help` does not wait for it

    found = list_snapshots(target)
    if as_json:
        print_json(found)
        return
    console = Console()
    table = Table(box=None, pad_edge=False)
    table.add_column("snapshot", no_wrap=True)
    for name in ("memory", "documents", "size", "model"):
        table.add_column(name, justify="right" if name in ("documents", "size") else "left", overflow="fold")
    for snapshot in found:
        size, model = decimal(snapshot.bytes), printable(snapshot.model or "-")
        table.add_row(snapshot.path.name, printable(snapshot.memory), f"{snapshot.documents:,}", size, model)
    console.print(table)


@handle_errors()
def restore(
    snapshot: Annotated[Path, typer.Argument(metavar="SNAPSHOT", help="One snapshot: its folder.")],
    memory: Annotated[Path, typer.Argument(metavar="MEMORY", help="The memory: a folder, made when missing.")],
    *,
    force: Annotated[
        bool, typer.Option("--force/--no-force", help="Replace what the memory holds, even if it is damaged.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a memory hold what it held when a snapshot was taken.

    The snapshot is checked first. A memory that is in use may be restored: whoever searches it sees the old state or
    the new one.
    """
    from zenso.memory import restore as put_back  # noqa: PLC0415 - `zenso --help` does not wait for it

    with CountBar("pages") as bar:
        restored = put_back(snapshot, memory, force=force, on_progress=bar)
    if as_json:
        print_json({"memory": memory, "snapshot": restored})
        return
    typer.echo(f"{printable(str(memory))} holds {restored.documents:,} documents, as on {restored.created}")


def _line(snapshot: "Snapshot") -> str:
    return f"{printable(str(snapshot.path))}: {snapshot.documents:,} documents, {decimal(snapshot.bytes)}"
