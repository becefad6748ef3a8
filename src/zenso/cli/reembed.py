"""`zenso reembed`: embed the documents of a memory again, for another model or after a repair."""

import time
from typing import Annotated

import typer

import zenso
from zenso.cli.options import DEFAULT_MEMORY, AsJson, MemoryArgument, Threads
from zenso.cli.output import handle_errors, print_json, printable, require_memory
from zenso.cli.progress import CountBar, encoder_loader


@handle_errors()
def reembed(
    memory: MemoryArgument = DEFAULT_MEMORY,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model to move to.", show_default="all-MiniLM-L6-v2"),
    ] = None,
    threads: Threads = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Embed what is not embedded by this model, or not at all.

    Needed after an upgrade that changes a model's results, and after `zenso check --repair` took corrupted embeddings
    away. Searches with the old embeddings go on until the new ones take their place, all at once. A run that was
    interrupted goes on where it stopped when it is started again.
    """
    require_memory(memory)
    began = time.monotonic()
    with zenso.Memory.open(memory, encoder=encoder_loader(threads, model)) as opened, CountBar("documents") as bar:
        embedded = opened.reembed(on_progress=bar)
        documents = len(opened)
    seconds = time.monotonic() - began
    if as_json:
        print_json({"memory": memory, "embedded": embedded, "documents": documents, "seconds": round(seconds, 3)})
        return
    typer.echo(f"{printable(str(memory))}: {embedded:,} of {documents:,} documents embedded again in {seconds:.1f} s")
