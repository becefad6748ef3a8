"""`zenso serve`: the HTTP server."""

from pathlib import Path
from typing import Annotated

import typer

from zenso.cli.memories import named_memories
from zenso.cli.options import Threads
from zenso.cli.output import handle_errors, note
from zenso.cli.progress import FetchReporter


@handle_errors()
def serve(
    memories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MEMORY...]",
            help="Folders of memories, as PATH or NAME=PATH; made when missing. The first is the default one.",
            show_default="memory.zenso, unless the configuration names some",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Settings.", show_default="zenso.toml, where there is one"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any that is free.", show_default="7680")] = None,
    model: Annotated[str | None, typer.Option(help="Embedding model.", show_default="all-MiniLM-L6-v2")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys.", show_default="in the user's settings")] = None,
    chat: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Language model: a name of the catalogue, or a GGUF file with FILE.sha256."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Serve memories and models to other programs, and pages to people.

    The APIs are those of OpenAI (embeddings, chat), Cohere, Jina, vLLM and TEI (rerank, score, embed), and Zenso's own;
    the address itself, in a browser, is a search page. On an address that others can reach, keys are needed: see
    `zenso keys`. Ctrl-C ends it when running requests are done.
    """
    from zenso import server  # noqa: PLC0415 - `zenso --help` does not wait for it

    if config is None and Path("zenso.toml").exists():
        config = Path("zenso.toml")
    given = named_memories(memories) if memories else None
    settings = server.load_settings(
        config,
        memories=given,
        host=host,
        port=port,
        model=model,
        keys=keys,
        threads=threads,
        generation={"model": chat} if chat else None,
    )
    if not settings.memories:
        settings = settings.model_copy(update={"memories": {"memory": Path("memory.zenso")}})
    with FetchReporter() as reporter:

        def ready(address: str) -> None:
            note(f"serving {', '.join(settings.memories)} on {address}")

        server.serve(settings, ready, reporter)
