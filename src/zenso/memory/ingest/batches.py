"""Put sources into a memory many at a time, and tell how far that is.

The chunks of many sources are embedded in one call, which keeps every processor busy with small ones too; the next are
read and cut on the calling thread meanwhile, because the kernel already uses all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zenso.errors import InputError
from zenso.memory.documents import SourceUpdate
from zenso.memory.ingest.sections import ReadWarning, Skipped

if TYPE_CHECKING:
    from zenso.memory.memory import Memory

MAX_TOKENS: Final = 256
OVERLAP: Final = 32
CHUNKS_AT_ONCE: Final = 256
"""A batch is worth the kernel's while, and is done in a few seconds: so much is lost when a run is killed."""


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far a run is. ``size`` is work in bytes or characters, which foretells time better than counting items."""

    items: int
    total_items: int
    size: int
    total_size: int
    chunks: int
    current: str


OnProgress = Callable[[IndexProgress], None]


@dataclass(slots=True)
class IndexReport:
    """What a run did: numbers of files (of modules, for the standard library), and the problems it met."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[ReadWarning] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pending:
    """A source that is cut into chunks and waits for its batch; ``size`` and ``items`` count for progress."""

    update: SourceUpdate
    is_new: bool
    items: int
    size: int


class Batches:
    """Gathers sources and stores them a batch at a time."""

    def __init__(self, memory: "Memory", report: IndexReport, on_progress: OnProgress | None) -> None:
        self._memory = memory
        self._report = report
        self._on_progress = on_progress
        self._pending: list[Pending] = []
        self._chunks = 0
        self.items = self.total_items = self.size = self.total_size = 0

    def pass_over(self, items: int, size: int, current: str) -> None:
        """Count something that needs no embedding as done."""
        self.items += items
        self.size += size
        self.tell(current)

    def put(self, pending: Pending) -> None:
        """Take a source; the batch is stored when it is large enough."""
        self._pending.append(pending)
        self._chunks += len(pending.update.texts)
        if self._chunks >= CHUNKS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        batch, self._pending, self._chunks = self._pending, [], 0
        if not batch:
            return
        try:
            self._store(batch)
        except InputError:
            # One of them cannot be stored; the others can.
            for pending in batch:
                try:
                    self._store([pending])
                except InputError as error:
                    self._report.skipped.append(Skipped(Path(pending.update.path), str(error)))

    def tell(self, current: str, share: float = 0.0, *, chunks: int = 0, batch: Sequence[Pending] = ()) -> None:
        """Report progress, ``share`` of a batch included."""
        if self._on_progress:
            items = self.items + int(share * sum(pending.items for pending in batch))
            size = self.size + int(share * sum(pending.size for pending in batch))
            done = self._report.chunks + chunks
            self._on_progress(IndexProgress(items, self.total_items, size, self.total_size, done, current))

    def _store(self, batch: list[Pending]) -> None:
        total = sum(len(pending.update.texts) for pending in batch)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.tell(batch[-1].update.path, done / total, chunks=done, batch=batch)

        self._memory.replace_sources([pending.update for pending in batch], on_progress=advance)
        self._report.chunks += total
        for pending in batch:
            self._report.added += pending.is_new
            self._report.updated += not pending.is_new
            self.items += pending.items
            self.size += pending.size
        self.tell(batch[-1].update.path)
