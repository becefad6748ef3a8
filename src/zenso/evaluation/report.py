"""Reports of an evaluation: Markdown with plots beside it, one HTML page, and a table of every query."""

import base64
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from zenso import __version__
from zenso.errors import StorageError
from zenso.evaluation.evaluation import Evaluation
from zenso.evaluation.measures import MEASURES
from zenso.evaluation.plots import DARK, LIGHT, Theme, plot_differences, plot_ndcg, plot_recall
from zenso.evaluation.rankings import DEPTH, RANKINGS
from zenso.evaluation.significance import RESAMPLES, SIGN_CHANGES

Table = tuple[str, list[str], list[list[str]]]  # caption, headings, rows; the first column names its row
Plot = tuple[str, str, Callable[[Evaluation, Theme], str]]  # file, what it shows, how it is drawn


def write_report(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write ``report.md`` with its plots, ``report.html`` that needs no other file, and ``queries.tsv``.

    Parameters
    ----------
    evaluation : Evaluation
    folder : Path
        Made where it is missing; files of these names in it are replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    StorageError
        A file cannot be written.
    """
    plots = _plots(evaluation)
    contents = {
        "report.html": _html(evaluation, plots),
        "report.md": _markdown(evaluation, plots),
        "queries.tsv": _queries(evaluation),
        **{file: draw(evaluation, LIGHT) for file, _, draw in plots},
    }
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = folder / name
            path.write_text(content, "utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    return [folder / name for name in contents]


def points(value: float) -> str:
    """Return a difference of measures in points, hundredths, with its sign."""
    return f"{100 * value:+.1f}"


def _plots(evaluation: Evaluation) -> list[Plot]:
    plots: list[Plot] = [
        ("ndcg_at_10.svg", "nDCG@10 of each ranking, with 95% intervals.", plot_ndcg),
        ("recall.svg", "Share of the relevant documents among the first k.", plot_recall),
    ]
    if evaluation.comparisons:
        shown = f"nDCG@10 of every query above that of {evaluation.baseline}, sorted."
        plots.append(("differences.svg", shown, plot_differences))
    return plots


def _tables(evaluation: Evaluation) -> list[Table]:
    measured = [
        [
            one.name,
            RANKINGS[one.name],
            f"{one.mean('ndcg_at_10'):.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            *(f"{one.mean(name):.3f}" for name in MEASURES if name != "ndcg_at_10"),
            f"{one.milliseconds:,.1f}",
        ]
        for one in evaluation.rankings.values()
    ]
    headings = ["ranking", "what it is", "nDCG@10", "95% interval", "recall@10", "recall@100", "MRR@10", "ms a query"]
    tables: list[Table] = [("How well each ranking finds answers", headings, measured)]
    if evaluation.comparisons:
        compared = [
            [
                one.name,
                points(one.mean),
                f"{points(one.low)} to {points(one.high)}",
                f"{one.p_value:.4f}",
                f"{one.better:,}",
                f"{len(one.differences) - one.better - one.worse:,}",
                f"{one.worse:,}",
            ]
            for one in evaluation.comparisons.values()
        ]
        headings = ["ranking", "nDCG@10, points", "95% interval", "p", "queries better", "equal", "worse"]
        tables.append((f"Compared with {evaluation.baseline}", headings, compared))
    return tables


def _facts(evaluation: Evaluation) -> list[str]:
    data = evaluation.data
    facts = [
        f"{len(data.documents):,} documents, {len(data.queries):,} queries, {len(data.judgements):,} judgements",
        f"model {evaluation.model}; provenance of its embeddings {evaluation.provenance[:16]}; Zenso {__version__}",
    ]
    if data.empty_documents:
        facts.append(f"documents without text, left out: {data.empty_documents:,}")
    if data.unknown_answers:
        facts.append(
            f"answers that are not among the documents, so that nothing can find them: {data.unknown_answers:,}"
        )
    return facts


def _methods() -> list[str]:
    measures = (
        "nDCG@10 has linear gains for graded judgements. Recall@k is the share of the relevant documents among the "
        "first k; MRR@10 is one divided by the rank of the first relevant document, 0 below the tenth. A document that "
        "nobody judged is no answer. All are means over the queries, computed by ir_measures."
    )
    chance = (
        f"Intervals are percentile bootstrap, {RESAMPLES:,} samples of the queries; those of differences are paired. "
        f"p is of a two-sided paired randomisation test with {SIGN_CHANGES:,} changes of signs, not corrected for "
        "several rankings being compared."
    )
    times = (
        f"A ranking has {DEPTH} documents. A time is the median from a query's text to its ranking, on the machine "
        "that made this report; that of reranking from text is of a few queries."
    )
    return [measures, chance, times]


def _markdown(evaluation: Evaluation, plots: Sequence[Plot]) -> str:
    lines = [f"# Rankings of {_plain(evaluation.data.name)}", ""]
    lines += [f"- {fact}" for fact in _facts(evaluation)]
    for caption, headings, rows in _tables(evaluation):
        lines += ["", f"## {caption}", "", _row(headings), "|---" * len(headings) + "|", *map(_row, rows)]
    lines += ["", "## Plots"]
    for file, shown, _ in plots:
        lines += ["", f"![{shown}]({file})", "", shown]
    lines += ["", "## How it was measured"]
    for paragraph in _methods():
        lines += ["", paragraph]
    lines += ["", "`queries.tsv` has the measures of every query."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return the name of a folder as Markdown that means nothing but itself."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|!&" else c for c in " ".join(text.split()))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _html(evaluation: Evaluation, plots: Sequence[Plot]) -> str:
    page = Template(files("zenso.evaluation").joinpath("report.html").read_text("utf-8"))
    return page.substitute(
        name=escape(evaluation.data.name),
        facts="\n".join(f"<li>{escape(fact)}</li>" for fact in _facts(evaluation)),
        tables="\n".join(_html_table(*table) for table in _tables(evaluation)),
        plots="\n".join(_html_plot(evaluation, *plot) for plot in plots),
        methods="\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in _methods()),
    )


def _html_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    # A wide table scrolls by itself, with the keyboard too.
    return (
        f'<div class="table" role="region" aria-label="{escape(caption)}" tabindex="0"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _html_plot(evaluation: Evaluation, _file: str, shown: str, draw: Callable[[Evaluation, Theme], str]) -> str:
    light, dark = (
        f"data:image/svg+xml;base64,{base64.b64encode(draw(evaluation, theme).encode('utf-8')).decode('ascii')}"
        for theme in (LIGHT, DARK)
    )
    return (
        f'<figure><picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{escape(shown)} The numbers are in the tables."></picture>'
        f"<figcaption>{escape(shown)}</figcaption></figure>"
    )


def _queries(evaluation: Evaluation) -> str:
    """Return a line of headings and one line a query, cells separated by tabs."""
    columns = [(one, name) for one in evaluation.rankings.values() for name in MEASURES]
    lines = [["query_id", "query", *(f"{one.name}_{name}" for one, name in columns)]]
    for number, (query_id, query) in enumerate(zip(evaluation.data.query_ids, evaluation.data.queries, strict=True)):
        values = [f"{one.values[name][number]:.6f}" for one, name in columns]
        lines.append([" ".join(query_id.split()), " ".join(query.split()), *values])
    return "".join("\t".join(line) + "\n" for line in lines)
