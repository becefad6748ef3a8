"""`zenso rerank`: order texts by how well they answer a query."""

import time
from typing import Annotated

import typer

import zenso
from zenso.cli.hits import ShownHit, passage_json, print_hits
from zenso.cli.lines import given_or_read
from zenso.cli.options import AsJson, FromFile, Threads
from zenso.cli.output import handle_errors, print_json
from zenso.cli.progress import encoder_loader


@handle_errors()
def rerank(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.")],
    candidates: Annotated[
        list[str] | None, typer.Argument(metavar="[CANDIDATE...]", help="The texts to order.", show_default=False)
    ] = None,
    source: FromFile = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", metavar="N", min=1, help="Most results.", show_default="all")
    ] = None,
    threads: Threads = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Order texts by how well they answer a query, best first.

    Each is compared with the query word by word, by the meaning the words have where they stand, and the passage that
    answers best is shown. A score is the share of candidates with such evidence that answer their query.
    """
    lines = given_or_read(candidates, source, "candidates")
    encoder = encoder_loader(threads)()
    began = time.monotonic()
    results = zenso.ZenReranker(encoder=encoder).rerank(query, lines, top_n=top_n, explain=True)
    seconds = time.monotonic() - began
    if as_json:
        ranked = [
            {
                "rank": rank,
                "score": round(result.score, 6),
                "evidence": round(result.evidence, 6),
                "index": result.index,
                "line": result.candidate.number,
                "text": result.text,
                **passage_json(result.explanation),
            }
            for rank, result in enumerate(results, start=1)
        ]
        print_json({"query": query, "results": ranked, "candidates": len(lines), "seconds": round(seconds, 4)})
        return
    kind = "candidate" if source is None else "line"
    shown = [
        ShownHit(
            rank,
            result.score,
            "",
            result.candidate.text,
            {"title": f"{kind} {result.candidate.number}"},
            result.explanation,
        )
        for rank, result in enumerate(results, start=1)
    ]
    print_hits(shown, query)
