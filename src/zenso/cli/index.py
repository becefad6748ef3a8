"""`zenso index`: make a memory hold what files say now."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zenso
from zenso.cli.options import DEFAULT_MEMORY, AsJson, MemoryPath, Threads
from zenso.cli.output import fail, handle_errors, note, print_json, printable
from zenso.cli.progress import IndexBar, encoder_loader

if TYPE_CHECKING:
    from zenso.memory.ingest import IndexReport


@handle_errors()
def index(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    memory: MemoryPath = DEFAULT_MEMORY,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=8, max=256, help="Most tokens of a chunk.")
    ] = 256,
    overlap: Annotated[
        int, typer.Option("--overlap", metavar="N", min=0, help="Most tokens that neighbouring chunks share.")
    ] = 32,
    threads: Threads = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Index files and folders, so that `zenso search` finds them.

    Reads text, Markdown, reStructuredText, HTML, PDF, JSON lines, CSV and source code. Run it again after changes:
    unchanged files are passed over, changed ones replaced, and those that are gone from a folder forgotten.
    """
    from zenso.memory.ingest import index_paths  # noqa: PLC0415 - `zenso --help` does not wait for it

    began = time.monotonic()
    with zenso.Memory.open(memory, encoder=encoder_loader(threads)) as opened:
        with IndexBar("files") as bar:
            report = index_paths(opened, paths, max_tokens=max_tokens, overlap=overlap, on_progress=bar)
        documents = len(opened)
    seconds = time.monotonic() - began
    _note_problems(report)
    if as_json:
        print_json(_as_json(report, memory, documents, seconds))
    else:
        typer.echo(_summary(report, memory, documents, seconds))
    if report.skipped and not report.added + report.updated + report.unchanged:
        fail(f"nothing was indexed: {_count(len(report.skipped), 'path')} skipped, for the reasons above")


def _note_problems(report: "IndexReport") -> None:
    for skipped in report.skipped:
        note(f"skipped {skipped.path}: {skipped.reason}")
    for warning in report.warnings:
        note(f"warning: {warning.path}: {warning.message}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _summary(report: "IndexReport", memory: Path, documents: int, seconds: float) -> str:
    parts = [f"{report.added:,} added", f"{report.updated:,} updated", f"{report.unchanged:,} unchanged"]
    parts += [f"{report.removed:,} forgotten"] if report.removed else []
    parts += [f"{len(report.skipped):,} skipped"] if report.skipped else []
    made = f"{_count(report.chunks, 'new chunk')} in {seconds:.1f} s"
    return f"files: {', '.join(parts)}; {made}. {printable(str(memory))} holds {_count(documents, 'chunk')}."


def _as_json(report: "IndexReport", memory: Path, documents: int, seconds: float) -> dict[str, object]:
    return {
        "memory": memory,
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "chunks": report.chunks,
        "documents": documents,
        "skipped": report.skipped,
        "warnings": report.warnings,
        "seconds": round(seconds, 3),
    }
