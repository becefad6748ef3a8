"""The standard library's documentation into a memory: only what changed is embedded."""

import sys
import sysconfig
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from zenso.memory.documents import SourceUpdate
from zenso.memory.ingest.batches import MAX_TOKENS, OVERLAP, Batches, IndexReport, OnProgress, Pending
from zenso.memory.ingest.chunking import Chunker
from zenso.memory.ingest.docstrings import DocstringEntry, standard_library_modules

if TYPE_CHECKING:
    from zenso.memory.ingest.sections import Metadata
    from zenso.memory.memory import Memory

# Raised when an entry's text or its chunks change, so that the library is indexed anew.
_LIBRARY: Final = "docstrings/2"
# Modules people ask about most, so that a memory that is still being filled answers them.
FIRST_MODULES: Final = (
    *("datetime", "time", "json", "os", "os.path", "pathlib", "re", "builtins", "collections", "itertools"),
    *("functools", "random", "math", "statistics", "string", "csv", "sqlite3", "subprocess", "shutil", "tempfile"),
    *("urllib.request", "urllib.parse", "http.client", "socket", "threading", "asyncio", "logging", "argparse"),
)


def index_standard_library(
    memory: "Memory",
    *,
    modules: Collection[str] | None = None,
    on_progress: OnProgress | None = None,
) -> IndexReport:
    """Make a memory hold the documentation of the running Python's standard library, well-known modules first.

    Each module is a source, so an interrupted run goes on where it stopped; a finished one leaves a stamp by which
    the next is known to have nothing to do. Documents that an earlier Python had and this one has not are forgotten.
    The metadata give ``name``, ``kind``, ``module``, and ``chunk`` (number of the chunk in a long docstring).

    Parameters
    ----------
    modules
        Only these; all by default. Nothing is forgotten then, and no stamp is left.
    on_progress
        As for `index_paths`; items are documented names.
    """
    report = IndexReport()
    stamp, version = f"python {sys.version.split()[0]}", _library_version()
    known = {source.path: source.fingerprint for source in memory.sources()}
    if modules is None and known.get(stamp) == version:
        report.unchanged = sum(path.startswith("python:") for path in known)
        return report
    found = dict(standard_library_modules(modules))
    order = sorted(found, key=lambda name: (FIRST_MODULES.index(name) if name in FIRST_MODULES else 99, name))
    texts = {name: [entry.text for entry in found[name]] for name in order}
    batches = Batches(memory, report, on_progress)
    batches.total_items = sum(map(len, texts.values()))
    batches.total_size = sum(len(text) for name in order for text in texts[name])
    chunker = Chunker(memory.encoder.splitting_tokenizer, MAX_TOKENS, OVERLAP)
    for name in order:
        source, size = f"python:{name}", sum(map(len, texts[name]))
        digest = blake3("\0".join(texts[name]).encode()).hexdigest()
        fingerprint = f"{_LIBRARY} {digest}"
        if known.get(source) == fingerprint:
            report.unchanged += 1
            batches.pass_over(len(texts[name]), size, source)
            continue
        update = _module_update(source, fingerprint, found[name], chunker)
        batches.put(Pending(update, source not in known, len(texts[name]), size))
    batches.flush()
    if modules is None:
        _finish_library(memory, known, {f"python:{name}" for name in order}, report)
        memory.replace_source(stamp, version, [])
    return report


def _library_version() -> str:
    """Name everything that the documentation depends on, without reading it."""
    parts = (sys.version, sysconfig.get_path("stdlib"), f"{MAX_TOKENS}/{OVERLAP}")
    return f"{_LIBRARY} {blake3(repr(parts).encode()).hexdigest()}"


def _module_update(source: str, fingerprint: str, entries: list[DocstringEntry], chunker: Chunker) -> SourceUpdate:
    texts: list[str] = []
    metadata: list[Metadata] = []
    module = source.removeprefix("python:")
    for entry in entries:
        for number, chunk in enumerate(chunker.chunks(entry.text)):
            texts.append(chunk.text)
            metadata.append(
                {
                    "name": entry.name,
                    "signature": entry.signature,
                    "kind": entry.kind,
                    "module": module,
                    "chunk": number,
                }
            )
    return SourceUpdate(source, fingerprint, texts, metadata)


def _finish_library(memory: "Memory", known: Iterable[str], current: Collection[str], report: IndexReport) -> None:
    """Forget modules that are no more, and the stamps of other versions."""
    for source in known:
        if source.startswith(("python:", "python ")) and source not in current:
            memory.remove_source(source)
            report.removed += source.startswith("python:")
