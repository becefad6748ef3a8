"""`zenso verify`: recompute the embeddings of a memory and name what is wrong with each that differs."""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zenso.cli.output import EXIT_ERROR, handle_errors, print_json

if TYPE_CHECKING:
    from zenso.memory.verify import VerifyReport
    from zenso.zen import ZenEncoder

_SHOWN = 100  # mismatches in the text form; --json has all


@handle_errors()
def verify(
    memory: Annotated[
        Path,
        typer.Option("--memory", "-m", metavar="FOLDER", envvar="ZENSO_MEMORY", help="The memory: a folder."),
    ] = Path("memory.zenso"),
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="Check only N documents, drawn at random.")
    ] = None,
    certainty: Annotated[
        float | None,
        typer.Option(
            "--certainty",
            metavar="P",
            help="Check as many, drawn at random, as find a share of --loss bad documents with probability P.",
        ),
    ] = None,
    loss: Annotated[
        float, typer.Option("--loss", metavar="SHARE", help="The share of bad documents that certainty is about.")
    ] = 0.01,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", metavar="N", min=1, help="Processors to embed with.", show_default="all that may be used"
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Recompute the embeddings of a memory and report every mismatch with its cause.

    Causes: text changed, other model, other kernel, corrupted vector, corrupted code. All documents are checked, or a
    random sample with --sample or --certainty. Nothing is written. The exit code is 1 if there is a mismatch.
    """
    from zenso.memory.verify import verify_memory  # noqa: PLC0415 - `zenso --help` does not wait for it

    def load() -> "ZenEncoder":
        from zenso.zen import load_encoder  # noqa: PLC0415 - takes a third of a second

        return load_encoder(threads=threads)

    began = time.monotonic()
    console = Console(stderr=True)
    columns = BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("documents, left"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        report = verify_memory(
            memory,
            load,
            sample=sample,
            certainty=certainty,
            loss=loss,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    seconds = time.monotonic() - began
    if as_json:
        _print_json(report, memory, seconds)
    else:
        typer.echo(_text(report, memory, seconds))
    if not report.ok:
        raise typer.Exit(EXIT_ERROR)


def _print_json(report: "VerifyReport", memory: Path, seconds: float) -> None:
    print_json(
        {
            "ok": report.ok,
            "memory": memory,
            "documents": report.documents,
            "checked": report.checked,
            "loss": report.loss,
            "certainty": report.certainty,
            "causes": Counter(mismatch.cause for mismatch in report.mismatches),
            "mismatches": report.mismatches,
            "notes": report.notes,
            "seconds": round(seconds, 4),
        }
    )


def _text(report: "VerifyReport", memory: Path, seconds: float) -> str:
    # Ids come from whoever made the memory; their repr does nothing to a terminal.
    lines = [f"{m.id!r}: {m.cause}: {m.detail}" for m in report.mismatches[:_SHOWN]]
    if len(report.mismatches) > _SHOWN:
        lines.append(f"and {len(report.mismatches) - _SHOWN:,} more; --json shows all")
    lines += [f"note: {note}" for note in report.notes]
    found = Counter(str(mismatch.cause) for mismatch in report.mismatches)
    outcome = ", ".join(f"{count:,} {cause}" for cause, count in sorted(found.items())) or "no mismatch"
    lines.append(f"{memory}: {report.checked:,} of {report.documents:,} checked in {seconds:.1f} s: {outcome}")
    if report.checked < report.documents:
        # Rounded down, so that no more is promised than holds.
        percent = int(report.certainty * 100_000) / 1000
        lines.append(
            f"had {report.loss:.3%} of all been bad, one would have been among them with {percent} % certainty"
        )
    return "\n".join(lines)
