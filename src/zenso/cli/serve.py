"""`zenso serve`: the HTTP server."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from zenso.cli.options import Threads
from zenso.cli.output import handle_errors, note, print_json, printable
from zenso.cli.progress import FetchReporter
from zenso.errors import InputError


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
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of the certificate and those that signed it.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file of the certificate's key.")] = None,
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
    given = _named(memories) if memories else None
    settings = server.load_settings(
        config,
        memories=given,
        host=host,
        port=port,
        model=model,
        keys=keys.absolute() if keys else None,
        tls=_tls(tls_certificate, tls_key),
        threads=threads,
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
    with FetchReporter() as reporter:
        # Fetched here, with a bar, so that the first request does not wait for it.
        _load(settings.model, settings.threads, reporter)
    server.serve(settings, on_ready=lambda address: note(f"serving {', '.join(settings.memories)} on {address}"))


def _load(model: str, threads: int | None, reporter: FetchReporter) -> None:
    from zenso.zen import load_encoder  # noqa: PLC0415

    load_encoder(model, threads=threads, on_progress=reporter)


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


def _named(given: list[str]) -> dict[str, Path]:
    """Name memories after their folders, where no name is given."""
    named: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = Path(text).absolute().name.removesuffix(".zenso"), text
        if name in named:
            raise InputError(f"two memories are called {name!r}; give one another name: NAME={path}")
        named[name] = Path(path).absolute()  # not beside the configuration
    return named
