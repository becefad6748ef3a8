"""`zenso search`: find documents of a memory by meaning."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

import zenso
from zenso.cli.hits import ShownHit, print_explanation, print_hits
from zenso.cli.options import DEFAULT_MEMORY, AsJson, HitCount, MemoryPath, Threads
from zenso.cli.output import handle_errors, note, print_json, printable, require_memory
from zenso.cli.progress import encoder_loader
from zenso.errors import InputError

if TYPE_CHECKING:
    from zenso.memory import Explanation, Memory
    from zenso.memory.stages import Dimensions

RERANKED = 50  # hits whose text is read again; a page of them takes a second or two


@handle_errors()
def search(  # noqa: PLR0913 - options
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question, or a few words.")],
    memory: MemoryPath = DEFAULT_MEMORY,
    k: HitCount = 5,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="FILTER",
            help="Only documents with this metadata: KEY=VALUE, or JSON such as "
            '\'{"year": {"$gte": 2020}}\'. May be given several times; all must hold.',
        ),
    ] = None,
    threads: Threads = None,
    *,
    dimensions: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="How much of the codes is scored: 1920, 3840 or 7680; auto: as much as the query needs.",
        ),
    ] = "7680",
    rerank: Annotated[
        bool,
        typer.Option("--rerank/--no-rerank", help="Order the best hits anew by reading their texts with the query."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each stage of the search looked at and found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search a memory by meaning."""
    condition = parse_where(where or [])
    sized = parse_dimensions(dimensions)
    require_memory(memory)
    began = time.monotonic()
    with zenso.Memory.open(memory, encoder=encoder_loader(threads)) as opened:
        hits, explanation = find(opened, query, k, condition, dimensions=sized, rerank=rerank, explain=explain)
        documents = len(opened)
    seconds = time.monotonic() - began
    if as_json:
        explained = {"explanation": explanation} if explain else {}
        print_json(answer(query, hits, documents, seconds) | explained)
        return
    print_hits(hits, query)
    if explanation:
        print_explanation(explanation, k)
    if not hits:
        filtered = " that the filter leaves" if condition and documents else ""
        note(f"nothing found: {memory} holds {documents if not filtered else 'no'} chunks{filtered}")


def find(
    memory: "Memory",
    query: str,
    k: int,
    where: dict[str, Any] | None = None,
    *,
    dimensions: "Dimensions" = 7680,
    rerank: bool = False,
    explain: bool = False,
) -> "tuple[list[ShownHit], Explanation | None]":
    """Search, and rerank if asked to; ranks count from 1. Also return how the search came to its hits, if asked to."""
    found = max(k, RERANKED) if rerank else k
    hits = memory.search(query, found, where=where, dimensions=dimensions, explain=explain)
    if rerank and hits:
        best = zenso.ZenReranker(memory=memory).rerank(query, hits, top_n=k, explain=True)
        scored = [(result.score, hits[result.index], result.explanation) for result in best]
    else:
        scored = [(hit.score, hit, None) for hit in hits]
    shown = [
        ShownHit(rank, score, hit.id, hit.text, hit.metadata, passage)
        for rank, (score, hit, passage) in enumerate(scored, start=1)
    ]
    return shown, hits.explanation


def answer(query: str, hits: list[ShownHit], documents: int, seconds: float) -> dict[str, Any]:
    """Return the object that `--json` prints for one query."""
    found = [hit.to_json() for hit in hits]
    return {"query": query, "hits": found, "documents": documents, "seconds": round(seconds, 4)}


def parse_dimensions(given: str) -> "Dimensions":
    """Read `--dimensions`.

    Raises
    ------
    InputError
        It is none of 1920, 3840, 7680 and auto.
    """
    from zenso.memory.stages import check_dimensions  # noqa: PLC0415 - `zenso --help` does not wait for it

    return check_dimensions(int(given) if given.isdecimal() else given)


def parse_where(given: list[str]) -> dict[str, Any] | None:
    """Read `--where` options into one filter, or None if there are none.

    In ``KEY=VALUE`` a value that looks like a number also stands for its text, because tables keep values as they are
    written.

    Raises
    ------
    InputError
        One is neither JSON nor ``KEY=VALUE``.
    """
    filters = [_parse_filter(text) for text in given]
    if len(filters) <= 1:
        return filters[0] if filters else None
    return {"$and": filters}


def _parse_filter(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise InputError(f"--where {printable(text)} is not JSON ({error}); quote it for the shell") from error
        return dict(parsed)
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--where {printable(text)!r} is neither KEY=VALUE nor JSON; write for example lang=en")
    try:
        other = json.loads(value)
    except ValueError:
        return {key: value}
    if isinstance(other, bool | int | float) or other is None:
        return {key: {"$in": [value, other]}}
    return {key: value}
