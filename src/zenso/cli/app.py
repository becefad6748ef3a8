"""The `zenso` command, put together from one module a subcommand. Those load what they need when they run."""

import os
import sys
from typing import Annotated

import typer

import zenso
from zenso.cli.aggregate import aggregate
from zenso.cli.backup import backup, restore, snapshots
from zenso.cli.chat import chat
from zenso.cli.check import check
from zenso.cli.codec import codec_app
from zenso.cli.compact import compact
from zenso.cli.demo import demo
from zenso.cli.doctor import doctor
from zenso.cli.embed import embed
from zenso.cli.evaluate import evaluate
from zenso.cli.exchange import export, import_file
from zenso.cli.index import index
from zenso.cli.keys import keys_app
from zenso.cli.mcp import mcp
from zenso.cli.models import models_app
from zenso.cli.node import node_app
from zenso.cli.output import EXIT_ERROR, EXIT_INTERRUPTED
from zenso.cli.reembed import reembed
from zenso.cli.rerank import rerank
from zenso.cli.search import search
from zenso.cli.serve import serve
from zenso.cli.train import train
from zenso.cli.verify import verify

app = typer.Typer(
    name="zenso",
    help="A search memory with embeddings that are the same to the last bit on every machine.",
    no_args_is_help=True,
    # An error that is not ours is a bug, and the plain traceback is what a report of it needs.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
_COMMANDS = (
    *(index, search, rerank, embed, chat, serve, mcp),
    *(verify, check, reembed, compact),
    *(backup, snapshots, restore, export),
    *(evaluate, train, aggregate, demo, doctor),
)
for command in _COMMANDS:
    app.command()(command)
app.command("import")(import_file)  # a Python function cannot have that name
app.add_typer(models_app, name="models")
app.add_typer(codec_app, name="codec")
app.add_typer(keys_app, name="keys")
app.add_typer(node_app, name="node")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"zenso {zenso.__version__}")
        raise typer.Exit


@app.callback(help=app.info.help)
def _zenso(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def main() -> None:
    """Run the command; exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, rather than a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app(prog_name="zenso")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough (`zenso search ... | head`). Python would complain once more when it
        # flushes at exit, so standard output goes nowhere from here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
