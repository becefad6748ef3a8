"""`zenso check`: look for damage in a memory, and repair what can be repaired."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zenso.cli.options import DEFAULT_MEMORY, AsJson, MemoryArgument
from zenso.cli.output import EXIT_ERROR, handle_errors, print_json, printable
from zenso.cli.progress import CountBar

if TYPE_CHECKING:
    from zenso.memory import CheckReport, Finding

_SHOWN = 100  # findings in the text form; --json has all


@handle_errors()
def check(
    memory: MemoryArgument = DEFAULT_MEMORY,
    *,
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Rebuild what can be rebuilt.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a memory for damage, without its model: database, documents, embeddings, segments.

    Every finding comes with its remedy. --repair rebuilds indexes and segments, deletes rows that belong to no
    document, and marks documents with a corrupted embedding for `zenso reembed`; it never deletes a document. The exit
    code is 1 if anything is wrong (still). `zenso verify` complements it: it embeds the texts again and compares.
    """
    from zenso.memory import check_memory  # noqa: PLC0415 - `zenso --help` does not wait for it

    began = time.monotonic()
    with CountBar("documents") as bar:
        report = check_memory(memory, repair=repair, on_progress=bar)
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "memory": memory,
                "documents": report.documents,
                "segments": report.segments,
                "findings": report.findings,
                "repaired": report.repaired,
                "seconds": round(seconds, 4),
            }
        )
    else:
        typer.echo(_text(report, memory, seconds))
    if not report.ok:
        raise typer.Exit(EXIT_ERROR)


def _text(report: "CheckReport", memory: Path, seconds: float) -> str:
    lines = [f"repaired: {_line(finding)}" for finding in report.repaired[:_SHOWN]]
    lines += [f"{_line(finding)}; {printable(finding.remedy)}" for finding in report.findings[:_SHOWN]]
    hidden = max(0, len(report.repaired) - _SHOWN) + max(0, len(report.findings) - _SHOWN)
    lines += [f"and {hidden:,} more; --json shows all"] if hidden else []
    outcome = f"{len(report.findings):,} faults" if report.findings else "nothing wrong"
    looked = f"{report.documents:,} documents and {report.segments:,} segments checked in {seconds:.1f} s"
    return "\n".join([*lines, f"{printable(str(memory))}: {looked}: {outcome}"])


def _line(finding: "Finding") -> str:
    # Ids come from whoever made the memory; their repr does nothing to a terminal.
    name = f"{finding.id!r}: " if finding.id is not None else ""
    return f"{name}{finding.fault}: {printable(finding.detail)}"
