"""`zenso export` and `zenso import`: the documents of a memory as a file, and back."""

import time
from pathlib import Path
from typing import Annotated

import typer

import zenso
from zenso.cli.options import AsJson, Threads
from zenso.cli.output import handle_errors, print_json, printable
from zenso.cli.progress import CountBar, encoder_loader

_FORMATS = "its ending says the format: .jsonl, .jsonl.gz, .parquet, .npz."


@handle_errors()
def export(
    memory: Annotated[Path, typer.Argument(metavar="MEMORY", help="The memory: a folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"The file to write; {_FORMATS}")],
    *,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings/--no-embeddings", help="Write vectors and codes too; .npz always has them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the documents of a memory to a file: JSON Lines, Parquet or a NumPy archive.

    With their embeddings, another memory of the same model imports them without embedding the texts again. Parquet
    needs the extra zenso[parquet].
    """
    with zenso.Memory.open(memory, read_only=True) as opened, CountBar("documents") as bar:
        documents = opened.export_to(file, embeddings=embeddings, on_progress=bar)
    if as_json:
        print_json({"memory": memory, "file": file, "documents": documents})
        return
    typer.echo(f"{printable(str(file))}: {documents:,} documents")


@handle_errors()
def import_file(
    memory: Annotated[Path, typer.Argument(metavar="MEMORY", help="The memory: a folder, made when missing.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"The file to read; {_FORMATS}")],
    threads: Threads = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Add the documents of a file to a memory; those of the same id are replaced.

    A JSON line is an object with "text", and optionally "id" and "metadata"; a Parquet file has columns of these names.
    Texts that are stored already are not embedded again, nor those that `zenso export --embeddings` wrote with the
    same model; so it may be run again, also after it was interrupted.
    """
    began = time.monotonic()
    with zenso.Memory.open(memory, encoder=encoder_loader(threads)) as opened, CountBar("documents") as bar:
        report = opened.import_from(file, on_progress=bar)
        held = len(opened)
    seconds = time.monotonic() - began
    if as_json:
        numbers = {"documents": report.documents, "embedded": report.embedded, "held": held}
        print_json({"memory": memory, "file": file, **numbers, "seconds": round(seconds, 3)})
        return
    read = f"{report.documents:,} documents read, {report.embedded:,} texts embedded in {seconds:.1f} s"
    typer.echo(f"{printable(str(file))}: {read}. {printable(str(memory))} holds {held:,} documents.")
