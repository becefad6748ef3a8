"""`zenso demo`: a search over the documentation of the Python that runs it."""

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zenso
from zenso.cli.hits import ShownHit, print_hits
from zenso.cli.options import AsJson, HitCount, Threads
from zenso.cli.output import EXIT_ERROR, fail, handle_errors, note, print_json
from zenso.cli.progress import IndexBar, encoder_loader
from zenso.cli.search import answer, find
from zenso.errors import ZensoError

if TYPE_CHECKING:
    from zenso.memory import Memory
    from zenso.memory.ingest import IndexProgress, IndexReport

_INTRODUCTION = """\
This searches the documentation of Python {version}'s standard library by meaning.
Ask for something, such as: parse a date from a string. An empty line or Ctrl-D ends it."""


@handle_errors()
def demo(
    query: Annotated[
        str | None, typer.Option("--query", "-q", metavar="TEXT", help="Answer this and leave, instead of asking.")
    ] = None,
    k: HitCount = 5,
    memory: Annotated[
        Path | None,
        typer.Option("--memory", "-m", metavar="FOLDER", help="Where to keep it.", show_default="in the user's cache"),
    ] = None,
    threads: Threads = None,
    modules: Annotated[
        str | None, typer.Option("--modules", metavar="NAMES", help="Only these, separated by commas.", hidden=True)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="For --serve; 0 takes any that is free.", show_default="7680")
    ] = None,
    *,
    serve: Annotated[
        bool, typer.Option("--serve", help="Open it as a page in the browser, instead of asking.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search the documentation of the Python that runs this, a few thousand docstrings.

    The first run indexes them, which takes some minutes; a run that is ended goes on where it stopped. Without
    --query it asks for queries while it is indexing; when standard input is no terminal, each line is one. With
    --serve there is a page at http://127.0.0.1:7680 instead, with all that `zenso serve` has.
    """
    if query is not None and serve:
        raise typer.BadParameter("--query and --serve are two ways to ask; choose one")
    path = memory or _default_memory()
    only = frozenset(modules.split(",")) if modules else None
    with zenso.Memory.open(path, encoder=encoder_loader(threads)) as opened:
        if query is not None:
            if not sys.stderr.isatty() and not len(opened):
                note("indexing the standard library's documentation, which takes some minutes and is done once")
            with IndexBar("names") as bar:
                _index(opened, only, bar)
            _warm_up(opened)
            _answer(opened, query, k, as_json=as_json)
        elif serve:
            with _Indexing(opened, only) as indexing:
                _serve(path, threads, port)
            if indexing.error is not None:
                fail(indexing.error)
        else:
            _ask(opened, only, k, as_json=as_json)


def _serve(path: Path, threads: int | None, port: int | None) -> None:
    """Serve the memory until Ctrl-C, while a thread indexes."""
    from zenso.cli.serve import start  # noqa: PLC0415 - only --serve needs it
    from zenso.server import load_settings  # noqa: PLC0415

    start(load_settings(memories={"python": path.absolute()}, threads=threads, port=port, keys=path / "no-keys.json"))


def _default_memory() -> Path:
    import platformdirs  # noqa: PLC0415 - most commands do without

    from zenso.memory.reading import DEFAULT_MODEL  # noqa: PLC0415 - `zenso --help` does not wait for it
    from zenso.zen import code_version  # noqa: PLC0415

    # Another version of the model or of its codes gives other embeddings, which are never mixed.
    return platformdirs.user_cache_path("zenso", appauthor=False) / f"demo-{code_version(DEFAULT_MODEL)}"


def _index(memory: "Memory", only: frozenset[str] | None, on_progress: "IndexBar | _Indexing") -> "IndexReport":
    from zenso.memory.ingest import index_standard_library  # noqa: PLC0415 - `zenso --help` does not wait for it

    return index_standard_library(memory, modules=only, on_progress=on_progress)


def _warm_up(memory: "Memory") -> None:
    """Load the model and compile what compiles at its first use, so that a query's time is that of the search."""
    memory.encoder.encode_query("warm up").prepare()


def _answer(memory: "Memory", query: str, k: int, *, as_json: bool, indexing: "_Indexing | None" = None) -> None:
    began = time.monotonic()
    hits, _ = find(memory, query, k)
    seconds = time.monotonic() - began
    documents = len(memory)
    if as_json:
        # Of many answers each is one line, for programs that read them as they come.
        print_json(answer(query, hits, documents, seconds), indent=None if indexing else 2)
        return
    print_hits([_without_name(hit) for hit in hits], query)
    so_far = indexing.state if indexing else ""
    note(f"{1000 * seconds:.0f} ms over {documents:,} chunks {so_far}" if hits else "nothing was indexed")


def _without_name(hit: ShownHit) -> ShownHit:
    """Leave out the words of the name that a docstring is indexed with: the heading has the name."""
    is_first = hit.metadata.get("chunk") == 0
    return replace(hit, text=hit.text.partition(": ")[2] or hit.text) if is_first else hit


def _ask(memory: "Memory", only: frozenset[str] | None, k: int, *, as_json: bool) -> None:
    """Answer queries from standard input while a thread indexes."""
    talks = sys.stdin.isatty() and not as_json
    if talks:
        typer.echo(_INTRODUCTION.format(version=sys.version.split()[0]))
    # Loaded here and not in the thread, so that the bar of a first fetch does not run into the prompt.
    _warm_up(memory)
    indexing = _Indexing(memory, only)
    failed = False
    with indexing:
        if not talks:
            indexing.wait()  # whoever asks from a file wants the same answers each time
        for query in _queries(indexing) if talks else (line.rstrip("\n") for line in sys.stdin):
            if not query.strip():
                continue
            indexing.wait_for_documents()
            try:
                _answer(memory, query, k, as_json=as_json, indexing=indexing)
            except ZensoError as error:
                note(f"error: {error}")
                failed = True
    if indexing.error is not None:
        fail(indexing.error)
    if failed and not talks:
        raise typer.Exit(EXIT_ERROR)


def _queries(indexing: "_Indexing") -> Iterator[str]:
    """Ask until an empty line or the end; the prompt tells how far indexing is."""
    import readline  # noqa: F401, PLC0415 - gives input() a history and cursor keys

    while True:
        if indexing.error is not None:
            return
        try:
            query = input(f"\n{indexing.state}query> ")
        except EOFError:
            typer.echo()
            return
        if not query.strip():
            return
        yield query


class _Stopped(Exception):  # noqa: N818 - no error: the user has asked enough
    """Ends the indexing thread from inside its report of progress."""


class _Indexing:
    """Indexes the standard library in a thread of its own; leaving the block stops it, and the next run goes on."""

    def __init__(self, memory: "Memory", only: frozenset[str] | None) -> None:
        self.error: ZensoError | None = None
        self._memory = memory
        self._only = only
        self._progress: IndexProgress | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zenso-demo")

    @property
    def state(self) -> str:
        """What the prompt says of it: nothing once it is done."""
        if not self._thread.is_alive():
            return ""
        if self._progress is None:
            return "(reading the library) "
        return f"(indexed {self._progress.items:,} of {self._progress.total_items:,} names) "

    def wait_for_documents(self) -> None:
        """Wait until there is something to search, which takes some seconds on the first run."""
        while self._thread.is_alive() and not len(self._memory):
            self._thread.join(0.1)

    def wait(self) -> None:
        """Wait until everything is indexed."""
        self._thread.join()

    def __enter__(self) -> "_Indexing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __call__(self, event: "IndexProgress") -> None:
        """Take note of progress, in the thread."""
        self._progress = event
        if self._stop.is_set():
            raise _Stopped

    def _run(self) -> None:
        try:
            _index(self._memory, self._only, self)
        except _Stopped:
            pass
        except ZensoError as error:
            self.error = error
