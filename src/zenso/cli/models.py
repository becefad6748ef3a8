"""`zenso models`: list, fetch, show and verify the models of the catalogue."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from zenso.cli.options import AsJson
from zenso.cli.output import fail, handle_errors, print_json
from zenso.cli.progress import FetchReporter

if TYPE_CHECKING:
    from zenso.models import FileCheck, ModelEntry

models_app = typer.Typer(
    help="The models that Zenso knows: fetch them, and check what is on disk.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Short name or full id of a model, as `list` shows them.")]


@models_app.command("list")
@handle_errors()
def list_models(*, as_json: AsJson = False) -> None:
    """List the known models and where they are on this machine."""
    from zenso import models  # noqa: PLC0415 - `zenso --help` does not wait for it

    summaries = [_summary(entry) for entry in models.CATALOGUE]
    if as_json:
        print_json(summaries)
        return
    rows = [
        (entry.name, entry.licence, decimal(entry.size), summary["folder"] or "no", entry.description)
        for entry, summary in zip(models.CATALOGUE, summaries, strict=True)
    ]
    _print_table(rows, "model", "licence", "size", "on this machine", "description")


@models_app.command()
@handle_errors()
def fetch(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Take the files from this folder.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch a model into the cache, verifying every file."""
    from zenso import models  # noqa: PLC0415 - `zenso --help` does not wait for it

    entry = models.lookup(name)
    with FetchReporter() as reporter:
        folder = models.fetch(entry, source, on_progress=reporter)
    if as_json:
        print_json({"name": entry.name, "model_id": entry.model_id, "folder": folder, "files": entry.files})
    else:
        typer.echo(f"{entry.name}: {len(entry.files)} files, {decimal(entry.size)}, verified, in {folder}")


@models_app.command()
@handle_errors()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show what the catalogue says about a model."""
    from zenso import models  # noqa: PLC0415 - `zenso --help` does not wait for it

    entry = models.lookup(name)
    summary = _summary(entry)
    if as_json:
        print_json({**summary, "files": entry.files, "wheels": entry.wheels, "hub": entry.hub})
        return
    rows = [(key.replace("_", " "), "-" if value is None else str(value)) for key, value in summary.items()]
    rows += [("package", wheel.requirement) for wheel in entry.wheels]
    rows += [("hub", f"{entry.hub.repository} ({entry.hub.revision})")] if entry.hub else []
    rows += [(file.name, f"{file.size} bytes, SHA-256 {file.sha256}") for file in entry.files]
    _print_table(rows)


@models_app.command()
@handle_errors()
def verify(name: Name, *, as_json: AsJson = False) -> None:
    """Hash a model's files on this machine anew and compare them with the catalogue."""
    from zenso import models  # noqa: PLC0415 - `zenso --help` does not wait for it

    entry = models.lookup(name)
    checks = models.verify(entry)
    ok = all(check.ok for check in checks)
    if as_json:
        files = [
            {
                "name": check.file.name,
                "path": check.path,
                "ok": check.ok,
                "expected_sha256": check.file.sha256,
                "found_sha256": check.sha256,
                "problem": check.problem,
            }
            for check in checks
        ]
        print_json({"name": entry.name, "model_id": entry.model_id, "ok": ok, "files": files})
    else:
        _print_table(
            [(check.file.name, _state(check), check.sha256 or "-") for check in checks], "file", "state", "SHA-256"
        )
    if not ok:
        problems = "; ".join(check.problem for check in checks if check.problem)
        fail(f"{problems}. To get the right files, run: zenso models fetch {entry.name}")


def _state(check: "FileCheck") -> str:
    if check.ok:
        return "ok"
    if check.damaged:
        return "damaged"
    return "missing" if check.missing else "unreadable"


def _print_table(rows: Sequence[Sequence[str]], *headings: str) -> None:
    """Print rows as a table that folds long values, since a hash or path that is cut off is of no use."""
    table = Table(show_header=bool(headings), highlight=False)
    for index in range(len(rows[0])):
        table.add_column(headings[index] if headings else "", overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)


def _summary(entry: "ModelEntry") -> dict[str, Any]:
    from zenso import models  # noqa: PLC0415 - `zenso --help` does not wait for it

    folder = models.locate(entry)
    return {
        "name": entry.name,
        "model_id": entry.model_id,
        "licence": entry.licence,
        "description": entry.description,
        "size": entry.size,
        "artifact_blake3": entry.artifact_blake3,
        "folder": None if folder is None else str(folder),
    }
