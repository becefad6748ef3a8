"""`zenso mcp`: the memories as tools of an agent."""

from typing import Annotated

import typer

from zenso.cli.memories import named_memories
from zenso.cli.options import DEFAULT_MEMORY, Threads
from zenso.cli.output import handle_errors
from zenso.cli.progress import FetchReporter
from zenso.errors import ModelError


@handle_errors()
def mcp(
    memories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MEMORY...]",
            help="Folders of memories, as PATH or NAME=PATH; made when missing. The first is the default one.",
            show_default="memory.zenso",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Embedding model.", show_default="all-MiniLM-L6-v2")] = None,
    threads: Threads = None,
) -> None:
    """Give an agent the tools to search memories, and to add and delete documents, over standard input and output.

    This is for the configuration of an agent, which starts it itself: {"command": "zenso", "args": ["mcp", "PATH"]}.
    `zenso serve` has the same tools at /mcp. Both need: pip install 'zenso[mcp]'.
    """
    try:
        from zenso.server.mcp import create_mcp  # noqa: PLC0415 - an extra
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != "mcp":
            raise
        raise ModelError("agents need the package mcp, which is missing: pip install 'zenso[mcp]'") from None
    from zenso.server import load_settings  # noqa: PLC0415 - `zenso --help` does not wait for it
    from zenso.server.services import Services  # noqa: PLC0415

    named = named_memories(memories) if memories else {"memory": DEFAULT_MEMORY}
    settings = load_settings(memories=named, model=model, threads=threads)
    with FetchReporter() as reporter:
        services = Services(settings, reporter)
    try:
        create_mcp(services).run("stdio")
    finally:
        services.close()
