"""`zenso evaluate`: how well the rankings of a user's own collection find what was judged to be an answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from zenso.cli.options import AsJson, Threads
from zenso.cli.output import handle_errors, note, print_json, printable
from zenso.cli.progress import StageBars, encoder_loader
from zenso.errors import InputError

if TYPE_CHECKING:
    from zenso.evaluation import Evaluation

_WIDTH = 96  # characters of the table where there is no terminal


@handle_errors()
def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A collection: corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/test.tsv."
        ),
    ],
    ranking: Annotated[
        list[str] | None,
        typer.Option(
            "--ranking",
            metavar="NAME",
            help="pooled, codes, codes_484_bytes, codes_244_bytes, bm25, hybrid, auto, rerank or rerank_codes. May be "
            "given several times.",
            show_default="all",
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="NAME", help="The ranking that the others are compared with.")
    ] = "pooled",
    queries: Annotated[
        int | None,
        typer.Option("--queries", metavar="N", min=1, help="Ask only N, spaced evenly over all.", show_default="all"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write report.md, report.html, plots and queries.tsv there."),
    ] = None,
    threads: Threads = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Measure how well search and reranking answer the queries of a collection that people have judged.

    The collection is a folder in the BEIR layout. Every ranking gets nDCG@10, recall, MRR and time a query, and is
    compared with a baseline: 95% interval and p-value of the difference. Needs the extra "evaluate" of the package.
    """
    from zenso.evaluation import RANKINGS, write_report  # noqa: PLC0415 - `zenso --help` does not wait for it
    from zenso.evaluation import evaluate as measure  # noqa: PLC0415

    if report is not None and report.exists() and not report.is_dir():
        raise InputError(f"--report {report} is a file; give a folder, which is made where it is missing")
    with StageBars() as bars:
        found = measure(
            folder,
            rankings=ranking or list(RANKINGS),
            baseline=baseline,
            queries=queries,
            encoder=encoder_loader(threads),
            on_progress=bars,
        )
    written = [] if report is None else write_report(found, report)
    if as_json:
        print_json(found.to_json() | {"report": written})
        return
    _print(found)
    for path in written[:1]:
        note(f"report: {path}")


def _print(found: "Evaluation") -> None:
    from zenso.evaluation.report import points  # noqa: PLC0415

    data = found.data
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("ranking")
    for heading in ("nDCG @10", "recall @10", "recall @100", "MRR @10"):
        table.add_column(heading.replace(" ", "\n"), justify="right")
    table.add_column(f"points above {found.baseline}\n(95% interval)", justify="right")
    for heading in ("\np", "ms a\nquery"):
        table.add_column(heading, justify="right")
    for name, one in found.rankings.items():
        cells = [f"{one.mean(key):.3f}" for key in ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")]
        compared = found.comparisons.get(name)
        if compared is None:
            cells += ["", ""]
        else:
            span = f"({points(compared.low)} to {points(compared.high)})"
            cells += [f"{points(compared.mean)} {span}", f"{compared.p_value:.4f}"]
        table.add_row(name, *cells, f"{one.milliseconds:,.1f}")
    console.print(table)
    typer.echo(f"{printable(data.name)}: {len(data.documents):,} documents, {len(data.queries):,} queries")
    if data.empty_documents:
        note(f"note: documents without text, left out: {data.empty_documents:,}")
    if data.unknown_answers:
        note(f"note: answers that are not among the documents, so that nothing can find them: {data.unknown_answers:,}")
