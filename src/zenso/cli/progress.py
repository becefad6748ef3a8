"""What is shown while a command works: bars where standard error is a terminal, notes as lines anywhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from zenso.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from zenso.memory.ingest import IndexProgress
    from zenso.models import Note, Transfer
    from zenso.zen import ZenEncoder

_SHOWN_NAME = 32  # characters of a path beside a bar


class _Bars:
    """Bars on standard error that are gone when the block ends; none where that is no terminal.

    They appear with the first report and not before, because those of a first fetch may be on the screen.
    """

    def __init__(self, *columns: ProgressColumn, speed_estimate_period: float = 30) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            *columns,
            console=console,
            disable=not console.is_terminal,
            transient=True,
            speed_estimate_period=speed_estimate_period,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()


class FetchReporter(_Bars):
    """Shows a fetch of a model."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: "Transfer | Note") -> None:
        """Show one event."""
        from zenso.models import Note  # noqa: PLC0415 - events come from there, so it is loaded already

        if isinstance(event, Note):
            self._progress.console.print(event.text, style="dim", markup=False, highlight=False, soft_wrap=True)
            return
        self._progress.start()
        if event.what not in self._bars:
            self._bars[event.what] = self._progress.add_task(escape(event.what), total=event.total)
        self._progress.update(self._bars[event.what], completed=event.done, total=event.total)


def encoder_loader(threads: int | None = None, model: str | None = None) -> "Callable[[], ZenEncoder]":
    """Return a function that loads a model, or the default one, fetching it with a bar when it is not there."""

    def load() -> "ZenEncoder":
        from zenso.memory.reading import DEFAULT_MODEL  # noqa: PLC0415 - `zenso --help` does not wait for it
        from zenso.zen import load_encoder  # noqa: PLC0415 - takes a third of a second

        with FetchReporter() as reporter:
            return load_encoder(model or DEFAULT_MODEL, threads=threads, on_progress=reporter)

    return load


class CountBar(_Bars):
    """Shows how many of how many are done, ``noun`` being what is counted, from the first report on."""

    def __init__(self, noun: str) -> None:
        super().__init__(
            BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn(f"{noun}, left"), TimeRemainingColumn()
        )
        self._task = self._progress.add_task("", total=None)

    def __call__(self, done: int, total: int) -> None:
        """Show a report."""
        self._progress.start()
        self._progress.update(self._task, completed=done, total=total)


class StageBars(_Bars):
    """Shows several kinds of work, one after the other, as a bar each."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        self._progress.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(escape(stage), total=total)
        self._progress.update(self._tasks[stage], completed=done)


class IndexBar(_Bars):
    """Shows a run of the indexer as one bar with an estimate of the time left; ``noun`` is what is counted."""

    def __init__(self, noun: str) -> None:
        super().__init__(
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            # Batches differ in length, so the speed of the last seconds foretells little.
            speed_estimate_period=120,
        )
        self._noun = noun
        self._shown = 0.0
        self._task: TaskID | None = None

    def __call__(self, event: "IndexProgress") -> None:
        """Show how far the run is."""
        now = time.monotonic()
        if now - self._shown < 0.1 and event.size < event.total_size:
            return  # thousands of unchanged files should not wait for the screen
        self._shown = now
        name = printable(event.current).replace("\n", " ")
        name = name if len(name) <= _SHOWN_NAME else f"…{name[1 - _SHOWN_NAME :]}"
        text = f"{event.items:,} of {event.total_items:,} {self._noun}, {event.chunks:,} chunks  {escape(name)}"
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(text, total=max(event.total_size, 1))
        if not event.chunks:
            # What is passed over goes by in no time and must not count for the estimate.
            self._progress.reset(self._task, completed=event.size, description=text)
        self._progress.update(self._task, completed=event.size, description=text)
