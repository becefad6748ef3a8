"""From files into a memory: only what changed is embedded.

Each file is a source of the memory with a fingerprint, so a run that was killed goes on where it stopped.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from zenso.errors import InputError
from zenso.memory.documents import SourceUpdate
from zenso.memory.ingest import formats
from zenso.memory.ingest.batches import MAX_TOKENS, OVERLAP, Batches, IndexReport, OnProgress, Pending
from zenso.memory.ingest.chunking import Chunk, Chunker
from zenso.memory.ingest.readers import MAX_FILE_BYTES, read_file, unreadable
from zenso.memory.ingest.sections import Metadata, ReadWarning, Section, Skipped
from zenso.memory.ingest.walk import walk

if TYPE_CHECKING:
    from zenso.memory.memory import Memory

# Raised when the readers or the chunker give other text for the same file, so that files are indexed anew.
_READING: Final = "files/1"
# Within this time of a change, another one may leave size and time of a file as they are (compare git's "racily
# clean" entries): the content decides then.
_SETTLED_NS: Final = 2_000_000_000


def index_paths(
    memory: "Memory",
    paths: Iterable[Path | str],
    *,
    max_tokens: int = MAX_TOKENS,
    overlap: int = OVERLAP,
    on_progress: OnProgress | None = None,
) -> IndexReport:
    """Make a memory hold the files under the given paths as they are now.

    A file whose content has not changed since it was last indexed is passed over, a changed one is replaced as a
    whole, and one that is gone from an indexed folder is forgotten. A file that cannot be read is reported as skipped,
    and what was indexed of it before is kept. Sources are named by their real absolute path. Each chunk's metadata
    holds ``path``, its place ``start`` to ``end`` in the characters of its section, ``chunk`` (its number in the file),
    and what its file tells: ``line``, ``page``, ``title``, ``language``, the fields of a record.

    Parameters
    ----------
    max_tokens, overlap
        Most tokens of a chunk, and most that neighbours share: see `Chunker`.
    on_progress
        Called often, from this thread; what it raises ends the run, and what was stored stays.

    Raises
    ------
    InputError
        A path does not exist, or the numbers of tokens do not go together. Nothing has been changed then.
    ModelError, StorageError
        As ``Memory.add``. What was stored before stays.
    """
    roots = [Path(path) for path in paths]
    report = IndexReport()
    known = {source.path: source.fingerprint for source in memory.sources()}
    settings = f"{_READING} {max_tokens}/{overlap}"
    files = list(_files(walk(roots), memory.path, report))
    _forget_vanished(memory, roots, known, {file.source for file in files}, report)

    batches = Batches(memory, report, on_progress)
    batches.total_items = len(files)
    batches.total_size = sum(file.size for file in files)
    chunker: Chunker | None = None
    for file in files:
        before = known.get(file.source)
        skipped_before = len(report.skipped)
        fingerprint = _changed(file, before, settings, report)
        if fingerprint is not None:
            if chunker is None:
                # Not before there is something to cut: a run that finds nothing new needs no model.
                chunker = Chunker(memory.encoder.splitting_tokenizer, max_tokens, overlap)
            update = read_update(file.path, file.source, fingerprint, chunker, report)
            if update is not None:
                batches.put(Pending(update, before is None, 1, file.size))
                continue
        if before is not None and len(report.skipped) > skipped_before:
            last = report.skipped[-1]
            report.skipped[-1] = Skipped(last.path, f"{last.reason}; what was indexed of it before is kept")
        batches.pass_over(1, file.size, str(file.path))
    batches.flush()
    return report


@dataclass(frozen=True, slots=True)
class _File:
    """A file to look at: the path to name in messages, the source's name, and size and time when it was found."""

    path: Path
    source: str
    size: int
    modified_ns: int


def _files(found: Iterable[Path | Skipped], memory_folder: Path, report: IndexReport) -> Iterator[_File]:
    own = os.path.realpath(memory_folder)
    for item in found:
        if isinstance(item, Skipped):
            if not Path(os.path.realpath(item.path)).is_relative_to(own):
                report.skipped.append(item)
            continue
        source = os.path.realpath(item)
        if Path(source).is_relative_to(own):
            continue  # the memory itself lies in the folder
        try:
            stat = item.stat()
        except OSError as error:
            report.skipped.append(Skipped(item, unreadable(error)))
            continue
        yield _File(item, source, stat.st_size, stat.st_mtime_ns)


def _changed(file: _File, before: str | None, settings: str, report: IndexReport) -> str | None:
    """Return a file's new fingerprint, or None if it needs no indexing or cannot be read.

    A fingerprint is the settings, the content's digest, and size and time of the file, by which most files are known
    to be unchanged without reading them. Time 0 stands for one too near to the run to be trusted.
    """
    old = (before or "").rsplit(";", 3)
    place = [str(file.size), str(file.modified_ns)]
    if old[0] == settings and old[2:] == place:
        report.unchanged += 1
        return None
    if file.size > MAX_FILE_BYTES:
        return f"{settings};;;"  # not worth hashing: the reader will say that it is too large
    try:
        digest = blake3(file.path.read_bytes(), max_threads=blake3.AUTO).hexdigest()
    except OSError as error:
        report.skipped.append(Skipped(file.path, unreadable(error)))
        return None
    if old[:2] == [settings, digest]:
        report.unchanged += 1
        return None
    if time.time_ns() - file.modified_ns < _SETTLED_NS:
        place[1] = "0"
    return ";".join((settings, digest, *place))


def read_update(
    path: Path, source: str, fingerprint: str, chunker: Chunker, report: IndexReport
) -> SourceUpdate | None:
    """Read and cut a file into the documents of a source; None, and a note in the report, if it cannot be read."""
    texts: list[str] = []
    metadata: list[Metadata] = []
    warnings: list[ReadWarning] = []
    try:
        for item in read_file(path):
            if isinstance(item, Skipped):
                report.skipped.append(item)
                return None
            if isinstance(item, ReadWarning):
                warnings.append(item)
                continue
            lines = _Lines(item) if _is_whole_file(path, item) else None
            for chunk in chunker.chunks(item.text, item.kind):
                texts.append(chunk.text)
                metadata.append(_describe(source, item, chunk, len(metadata), lines))
    except InputError as error:
        reason = str(error).removeprefix(f"{os.fsencode(path).decode('utf-8', 'replace')}: ")
        report.skipped.append(Skipped(path, reason))
        return None
    except OSError as error:
        report.skipped.append(Skipped(path, unreadable(error)))
        return None
    report.warnings += warnings
    return SourceUpdate(source, fingerprint, texts, metadata)


class _Lines:
    """Line numbers of growing offsets in a section, without counting from the start each time."""

    def __init__(self, section: Section) -> None:
        self._text = section.text
        self._offset = 0
        self._line = 1

    def at(self, offset: int) -> int:
        if offset < self._offset:  # an overlap reaches back
            self._line -= self._text.count("\n", offset, self._offset)
        else:
            self._line += self._text.count("\n", self._offset, offset)
        self._offset = offset
        return self._line


def _is_whole_file(path: Path, section: Section) -> bool:
    """Tell whether lines of the section are lines of the file."""
    return path.suffix.lower() not in formats.HTML and not section.metadata.keys() & {"line", "page"}


def _describe(source: str, section: Section, chunk: Chunk, ordinal: int, lines: _Lines | None) -> Metadata:
    # A record may have fields of any name; ours win, and names that a filter would take for an operator are changed.
    fields = {f"_{name}" if not name or name.startswith("$") else name: v for name, v in section.metadata.items()}
    place: Metadata = {"path": source, "start": chunk.start, "end": chunk.end, "chunk": ordinal}
    if lines is not None:
        place["line"] = lines.at(chunk.start)
    return {**fields, **place}


def _forget_vanished(
    memory: "Memory", roots: Sequence[Path], known: Iterable[str], seen: Collection[str], report: IndexReport
) -> None:
    """Forget what was indexed below the given folders and is not there any more."""
    folders = [os.path.realpath(root) for root in roots if os.path.isdir(root)]  # noqa: PTH112 - quiet where it may not look
    for source in known:
        inside = any(source.startswith(os.path.join(folder, "")) for folder in folders)  # noqa: PTH118 - "/" stays "/"
        if inside and source not in seen and _is_gone(source):
            memory.remove_source(source)
            report.removed += 1


def _is_gone(path: str) -> bool:
    """Tell whether a file certainly does not exist: one that may not be looked at still may."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
