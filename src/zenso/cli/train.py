"""`zenso train`: learn slots or an expansion head from texts; needs `zenso[torch]`."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from zenso.cli.options import AsJson, Threads
from zenso.cli.output import handle_errors, print_json, printable
from zenso.cli.progress import encoder_loader
from zenso.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zenso.zen.training.corpus import Corpus

_NEGATIVES = 30  # a query's best hits, of which those that answer are left out


@handle_errors()
def train(  # noqa: PLR0913, PLR0917 - options
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="corpus.jsonl, queries.jsonl and qrels.tsv (BEIR), or triplets.jsonl. May be given several times.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Where artifact, reports and checkpoints go; goes on from them."),
    ],
    stage: Annotated[
        int | None,
        typer.Option(min=1, max=3, help="1 expansion, 2 contrastive, 3 DSO.", show_default="all, in order"),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="What an earlier stage wrote.", show_default="untrained"),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="FOLDER", help="Where token states are kept.", show_default="OUT/states"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Of each stage.", show_default="100")] = None,
    share: Annotated[
        int | None, typer.Option(min=0, max=53, help="Of slot 0 that is taken from tokens.", show_default="21")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")] = 0,
    threads: Threads = None,
    *,
    head: Annotated[
        bool, typer.Option("--head", help="Train an expansion head for pooled vectors instead of slots.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train in three stages on texts, resumably, with early stopping on documents held out."""
    try:
        import torch  # noqa: PLC0415 - an extra

        from zenso.zen.training import pipeline  # noqa: PLC0415
        from zenso.zen.training.texts import read_training_sets  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"training needs the extra torch ({error}): pip install 'zenso[torch]'") from error
    if head and share is not None:
        raise InputError("--share is of slots; a head has none")
    if threads is not None:
        torch.set_num_threads(threads)
    plan = pipeline.Plan(
        data=read_training_sets(data),
        out=out,
        cache=cache or out / "states",
        stages=(1, 2, 3) if stage is None else (stage,),
        start=start,
        share=pipeline.SHARE if share is None else share,
        steps=steps,
        seed=seed,
        command=" ".join(["zenso", *(Path(word).name if "/" in word else word for word in sys.argv[1:])]),
    )
    encoder = encoder_loader(threads)()
    with _Bars() as bars:
        if head:
            reports = pipeline.train_head(plan, encoder, bars)
        else:
            reports = pipeline.train_slots(plan, encoder, lambda corpus: _mine(corpus, encoder, bars), bars)
    if as_json:
        print_json(reports)
        return
    for report in reports:
        before, after = (_mean(report[key]) for key in ("before", "after"))
        told = (
            f"stage {report['stage']}: validation {before:.4f} -> {after:.4f}, best after {report['best_step']} steps"
        )
        typer.echo(f"{told} of {report['steps_taken']}")
    typer.echo(f"written to {printable(str(out))}")


def _mean(measured: dict[str, dict[int, float]]) -> float:
    values = [value for found in measured.values() for value in found.values()]
    return sum(values) / len(values)


class _Bars:
    """One bar for each thing that is done, from its first report on."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        name = what.split(",", maxsplit=1)[0]
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(what)
        self._progress.update(self._tasks[name], description=what, completed=done, total=total)


class _KnownStates:
    """The encoder of a memory of a corpus's documents: their states are there already."""

    def __init__(self, encoder: Any, corpus: "Corpus") -> None:  # noqa: ANN401 - whatever a memory takes
        self._encoder, self._corpus = encoder, corpus
        self._rows = {text: row for row, text in enumerate(corpus.data.documents)}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._encoder, name)

    def encode_documents(self, texts: list[str], _on_progress: object = None) -> object:
        states = self._corpus.documents
        rows = [self._rows[text] for text in texts]
        spans = [states.span(row) for row in rows]
        tokens, ids = [states.tokens[span] for span in spans], [states.ids[span] for span in spans]
        return self._encoder.embed_states(states.pooled[rows], tokens, ids)


def _mine(corpus: "Corpus", encoder: Any, bars: _Bars) -> "NDArray[np.int64]":  # noqa: ANN401
    """Search a memory of the documents that are not held out for each training query; what answers is left out."""
    import numpy as np  # noqa: PLC0415

    from zenso.memory import Memory  # noqa: PLC0415

    data = corpus.data
    kept = np.flatnonzero(~data.held_out).tolist()
    found = np.zeros((len(data.queries), _NEGATIVES), np.int64)
    with tempfile.TemporaryDirectory() as place:
        known: Any = _KnownStates(encoder, corpus)
        with Memory.open(place, encoder=known) as memory:
            memory.add([data.documents[row] for row in kept], ids=[str(row) for row in kept])
            for done, pair in enumerate(data.training_pairs.tolist(), 1):
                query = data.queries[pair]
                hits = [int(hit.id) for hit in memory.search(query, 2 * _NEGATIVES, hybrid=False)]
                wrong = [row for row in hits if row not in corpus.answers[query]] or kept[:1]
                found[pair] = np.resize(np.array(wrong[:_NEGATIVES]), _NEGATIVES)
                bars(f"{data.name}: hard negatives", done, len(data.training_pairs))
    return found
