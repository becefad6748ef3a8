"""`zenso serve`: the HTTP server."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zenso.cli.memories import named_memories
from zenso.cli.options import Threads
from zenso.cli.output import handle_errors, note, print_json, printable
from zenso.cli.progress import FetchReporter
from zenso.errors import InputError

if TYPE_CHECKING:
    from zenso.server import Settings


@handle_errors()
def serve(  # noqa: PLR0913 - options of a command
    memories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MEMORY...]",
            help="Folders of memories, as PATH or NAME=PATH; made when missing. The first is the default one.",
            show_default="memory.zenso, unless the configuration names some",
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="ZENSO_CONFIG",
            help="Settings.",
            show_default="zenso.toml, where there is one",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any that is free.", show_default="7680")] = None,
    model: Annotated[str | None, typer.Option(help="Embedding model.", show_default="all-MiniLM-L6-v2")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys.", show_default="in the user's settings")] = None,
    chat: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Language model: a name of the catalogue, or a GGUF file with FILE.sha256."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of the certificate and those that signed it.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file of the certificate's key.")] = None,
    node: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Node of the network to run beside it: see `zenso node init`.")
    ] = None,
    threads: Threads = None,
    check: Annotated[bool, typer.Option("--check", help="Check the settings, show them, and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON instead of text.")] = False,
) -> None:
    """Serve memories and models to other programs, and pages to people.

    The APIs are those of OpenAI (embeddings, chat), Cohere, Jina, vLLM and TEI (rerank, score, embed), and Zenso's own;
    the address itself, in a browser, is a search page. On an address that others can reach, keys are needed: see
    `zenso keys`. Ctrl-C ends it when running requests are done.
    """
    from zenso import server  # noqa: PLC0415 - `zenso --help` does not wait for it

    if config is None and Path("zenso.toml").exists():
        config = Path("zenso.toml")
    if as_json and not check:
        raise typer.BadParameter("--json goes with --check; the format of the log is a setting")
    given = named_memories(memories) if memories else None
    settings = server.load_settings(
        config,
        memories=given,
        host=host,
        port=port,
        model=model,
        keys=keys.absolute() if keys else None,
        tls=_tls(tls_certificate, tls_key),
        node=node.absolute() if node else None,
        threads=threads,
        generation={"model": str(Path(chat).absolute()) if Path(chat).exists() else chat} if chat else None,
    )
    if not settings.memories:
        settings = settings.model_copy(update={"memories": {"memory": Path("memory.zenso")}})
    server.check(settings)
    if check:
        shown = settings.model_dump(mode="json")
        if as_json:
            print_json(shown)
        else:
            _print_settings(shown)
        return
    start(settings)


def start(settings: "Settings") -> None:
    """Serve until the end, with bars while models are fetched, and say where."""
    from zenso import server  # noqa: PLC0415 - `zenso --help` does not wait for it

    with ExitStack() as bars:
        reporter = bars.enter_context(FetchReporter())

        def ready(address: str) -> None:
            bars.close()  # from now on the screen belongs to the log
            note(f"serving {', '.join(settings.memories)} on {address}")

        server.serve(settings, ready, reporter)


def _tls(certificate: Path | None, key: Path | None) -> dict[str, Path] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InputError("--tls-certificate and --tls-key go together; give both, or none for plain HTTP")
    return {"certificate": certificate.absolute(), "private_key": key.absolute()}


def _print_settings(values: dict[str, Any], prefix: str = "") -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _print_settings(value, f"{prefix}{name}.")
        else:
            typer.echo(printable(f"{prefix}{name} = {json.dumps(value, ensure_ascii=False)}"))
