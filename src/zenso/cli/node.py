"""`zenso node`: a node of the network, which exchanges experiences with others."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from zenso.cli.options import AsJson, HitCount
from zenso.cli.output import handle_errors, note, print_json, printable
from zenso.cli.progress import FetchReporter
from zenso.errors import InputError

node_app = typer.Typer(
    help="A node of the network: it exchanges experiences with other nodes, none of which trusts another.",
    no_args_is_help=True,
)

DEFAULT_NODE = Path("node.zenso")
_POLL_SECONDS = 0.2
NodePath = Annotated[Path, typer.Option("--node", "-n", metavar="FOLDER", envvar="ZENSO_NODE", help="The node.")]
NodeArgument = Annotated[Path, typer.Argument(metavar="[FOLDER]", envvar="ZENSO_NODE", help="The node: a folder.")]
RecordId = Annotated[str, typer.Argument(metavar="ID", help="Of the experience, as `zenso node search` shows it.")]
DomainOption = Annotated[
    str | None, typer.Option("--domain", metavar="NAME", help="Of the experience.", show_default="the node's first")
]


@node_app.command()
@handle_errors()
def init(
    folder: NodeArgument = DEFAULT_NODE,
    *,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Multiaddress to listen on.", show_default="/ip4/127.0.0.1/tcp/7681"),
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Node to stay connected with: .../p2p/ID.")
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What to exchange experiences about.", show_default="general"),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Embedding model.", show_default="all-MiniLM-L6-v2")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a node: its key, which nobody else may read, and node.toml, which may be edited."""
    with _extra():
        from zenso.network.folder import create_folder  # noqa: PLC0415 - `zenso --help` does not wait for it
    given = {"listen": listen, "peers": peer, "domains": domain, "model": model}
    made = create_folder(folder, {name: value for name, value in given.items() if value})
    if as_json:
        print_json(made)
        return
    typer.echo(f"made {printable(str(folder))}: peer {made['peer']}")
    note(f"its settings are in {made['settings']}; start it with: zenso node start {folder}")


@node_app.command()
@handle_errors()
def start(folder: NodeArgument = DEFAULT_NODE, *, as_json: AsJson = False) -> None:
    """Run a node until Ctrl-C. To run one beside the server, use `zenso serve --node FOLDER`."""
    with _extra():
        from zenso.network.node import Node  # noqa: PLC0415 - `zenso --help` does not wait for it
    with ExitStack() as bars, Node(folder, on_progress=bars.enter_context(FetchReporter())) as node:
        status = node.status()
        if as_json:
            print_json({"peer": status["peer"], "addresses": status["addresses"]}, indent=None)
        else:
            for address in status["addresses"]:
                note(f"node listening on {address}")
        node.run_until_signal(bars.close)


@node_app.command()
@handle_errors()
def status(folder: NodeArgument = DEFAULT_NODE, *, as_json: AsJson = False) -> None:
    """Show what a running node holds, with whom it is connected, and what it refused and why."""
    found = _ask(folder, "status")
    if as_json:
        print_json(found)
        return
    typer.echo(f"peer {found['peer']}, up {found['uptime_seconds']:,.0f} s, {len(found['peers'])} peers connected")
    for address in found["addresses"]:
        typer.echo(f"listening on {printable(address)}")
    model = found["model"]
    if not model["loaded"]:
        typer.echo(f"no model {printable(model['name'])} yet: {printable(model['problem'] or 'it is being loaded')}")
    table = Table("domain", "records", "experiences", highlight=False)
    for name, domain in found["domains"].items():
        table.add_row(escape(name), f"{domain['records']:,}", f"{domain['experiences']:,}")
    Console().print(table)
    if found["refused"]:
        refused = Table("refused because", "times", highlight=False)
        for reason, times in sorted(found["refused"].items(), key=lambda item: -item[1]):
            refused.add_row(escape(reason), f"{times:,}")
        Console().print(refused)


@node_app.command()
@handle_errors()
def peers(folder: NodeArgument = DEFAULT_NODE, *, as_json: AsJson = False) -> None:
    """List the peers of a running node: what came from them, and who is cut off."""
    found = _ask(folder, "peers")
    if as_json:
        print_json(found)
        return
    table = Table("peer", "state", "taken", "refused", highlight=False)
    for peer in found:
        state = "cut off" if peer["banned_seconds"] else "connected" if peer["connected"] else "away"
        refused = ", ".join(f"{reason} {times:,}" for reason, times in peer["refused"].items())
        table.add_row(peer["peer"], state, f"{peer['accepted']:,}", escape(refused))
    Console().print(table)


@node_app.command()
@handle_errors()
def keys(folder: NodeArgument = DEFAULT_NODE, *, as_json: AsJson = False) -> None:
    """Show the public key of a node, and the id by which peers know it. The node need not run."""
    with _extra():
        from zenso.network.folder import read_folder  # noqa: PLC0415 - `zenso --help` does not wait for it
    opened = read_folder(folder)
    shown = {"peer": opened.peer, "creator": opened.identity.public_key.hex(), "key_file": opened.key_path}
    if as_json:
        print_json(shown)
        return
    typer.echo(f"peer    {shown['peer']}\ncreator {shown['creator']}")
    note(f"the private key is {opened.key_path}; whoever has it is this node")


@node_app.command()
@handle_errors()
def submit(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="One lesson, with what is needed to understand it alone.")
    ],
    node: NodePath = DEFAULT_NODE,
    domain: DomainOption = None,
    *,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="How sure you are.")] = 0.5,
    source_model: Annotated[str, typer.Option(metavar="NAME", help="What it was learned with.")] = "",
    replaces: Annotated[
        list[str] | None, typer.Option("--replaces", metavar="ID", help="Own experiences that it takes the place of.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign an experience with the node's key and send it to all nodes of its domain."""
    _print_submitted(
        _ask(
            node,
            "submit",
            text=text,
            domain=domain,
            confidence=confidence,
            source_model=source_model,
            targets=replaces or [],
        ),
        as_json=as_json,
    )


@node_app.command()
@handle_errors()
def withdraw(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Own experiences of one domain.")],
    node: NodePath = DEFAULT_NODE,
    *,
    as_json: AsJson = False,
) -> None:
    """Take experiences of this node away, on all nodes and for good."""
    _print_submitted(_ask(node, "withdraw", targets=ids), as_json=as_json)


@node_app.command()
@handle_errors()
def vote(
    record: RecordId,
    node: NodePath = DEFAULT_NODE,
    *,
    misled: Annotated[bool, typer.Option("--misled", help="It misled; without this, it helped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say of an experience that it helped, or misled; its creator's reputation follows."""
    _print_submitted(_ask(node, "vote", target=record, vote=-1 if misled else 1), as_json=as_json)


@node_app.command()
@handle_errors()
def dispute(record: RecordId, node: NodePath = DEFAULT_NODE, *, as_json: AsJson = False) -> None:
    """Say that an experience's code is not that of its text.

    Each node recomputes it, this one first: nothing is sent where the code is right. A wrong one costs its creator.
    """
    _print_submitted(_ask(node, "dispute", target=record), as_json=as_json)


@node_app.command()
@handle_errors()
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question, or a few words.")],
    node: NodePath = DEFAULT_NODE,
    domain: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this one.", show_default="all")] = None,
    k: HitCount = 5,
    *,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Of experiences to show.")] = 0.0,
    prompt: Annotated[bool, typer.Option("--prompt", help="Print numbered lessons, to put into a prompt.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search the experiences that a running node holds."""
    began = time.monotonic()
    found = _ask(node, "search", query=query, domain=domain, k=k, min_confidence=min_confidence)
    if as_json:
        print_json({"query": query, **found, "seconds": time.monotonic() - began})
        return
    if prompt:
        typer.echo(printable(found["prompt"]))
        return
    for number, hit in enumerate(found["experiences"], 1):
        numbers = ", ".join(f"{name} {hit[name]:.2f}" for name in ("score", "similarity", "confidence", "support"))
        typer.echo(f"{number}. {printable(hit['text'])}\n   {hit['id']}  {hit['domain']}, {numbers}")
    if not found["experiences"]:
        note("nothing found; `zenso node status` shows what the node holds")


@node_app.command()
@handle_errors()
def fetch(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Short name or full id of a model, as `zenso models list` shows them."),
    ],
    node: NodePath = DEFAULT_NODE,
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch a model from the peers of a node into the cache, verifying every file.

    A running node is asked to; otherwise the peers that it knows are dialled for as long as it takes. An interrupted
    fetch goes on where it was. For other sources there is `zenso models fetch`.
    """
    with _extra():
        from zenso.network.control import ask, runs  # noqa: PLC0415 - `zenso --help` does not wait for it
        from zenso.network.folder import read_folder  # noqa: PLC0415
        from zenso.network.shared_models import fetch_without_node  # noqa: PLC0415
    from zenso import models  # noqa: PLC0415

    entry = models.lookup(model)
    opened = read_folder(node)
    with FetchReporter() as reporter:
        if runs(node):
            while (found := ask(node, "fetch", model=entry.name))["folder"] is None:
                if found["what"] is not None:
                    reporter(models.Transfer(found["what"], found["done"], found["total"]))
                time.sleep(_POLL_SECONDS)
            folder = Path(found["folder"])
        else:
            folder = fetch_without_node(opened, entry.name, reporter)
    if as_json:
        print_json({"name": entry.name, "model_id": entry.model_id, "folder": folder, "files": entry.files})
    else:
        typer.echo(f"{entry.name}: {len(entry.files)} files, {decimal(entry.size)}, verified, in {folder}")


@contextmanager
def _extra() -> Iterator[None]:
    """Say what to install where a package of the extra is missing."""
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.startswith("zenso"):
            raise
        raise InputError(f"nodes need {error.name}, which is missing: pip install 'zenso[network]'") from None


def _ask(folder: Path, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
    with _extra():
        from zenso.network.control import ask  # noqa: PLC0415 - `zenso --help` does not wait for it
    if not folder.is_dir():
        raise InputError(f"there is no node in {folder}; make one with `zenso node init {folder}`")
    return ask(folder, command, **arguments)


def _print_submitted(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(made["id"])
    note(f"sent to {made['peers']} peers")
