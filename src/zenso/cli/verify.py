"""`zenso verify`: recompute the embeddings of a memory and name what is wrong with each that differs."""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zenso.cli.options import DEFAULT_MEMORY, AsJson, MemoryPath, Threads
from zenso.cli.output import EXIT_ERROR, handle_errors, print_json
from zenso.cli.progress import CountBar, encoder_loader

if TYPE_CHECKING:
    from zenso.memory.verify import VerifyReport

_SHOWN = 100  # mismatches in the text form; --json has all


@handle_errors()
def verify(
    memory: MemoryPath = DEFAULT_MEMORY,
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
    threads: Threads = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Recompute the embeddings of a memory and report every mismatch with its cause.

    Causes: text changed, other model, other kernel, corrupted vector, corrupted code. All documents are checked, or a
    random sample with --sample or --certainty. Nothing is written. The exit code is 1 if there is a mismatch.
    """
    from zenso.memory.verify import verify_memory  # noqa: PLC0415 - `zenso --help` does not wait for it

    began = time.monotonic()
    load = encoder_loader(threads)
    with CountBar("documents") as bar:
        report = verify_memory(memory, load, sample=sample, certainty=certainty, loss=loss, on_progress=bar)
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
