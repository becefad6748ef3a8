"""``Memory``: documents, their 964-byte codes and their metadata in one folder, searched by meaning."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from zenso.memory import store
from zenso.memory.compact import CompactReport, compact
from zenso.memory.database import Database
from zenso.memory.documents import Entry, SourceUpdate, check_ids, entries, source_bytes
from zenso.memory.exchange import ImportReport, export_documents, import_documents
from zenso.memory.filters import compile_where
from zenso.memory.reading import ReadableMemory
from zenso.memory.reembed import reembed
from zenso.memory.snapshots import CopyProgress, Snapshot, take_snapshot
from zenso.memory.stages import SearchSettings
from zenso.memory.store import Embeddings
from zenso.memory.upkeep import tidy
from zenso.memory.writing import Progress, batches, checked_sources, put

if TYPE_CHECKING:
    from zenso.zen import ZenEncoder

_DEFAULT_SETTINGS = SearchSettings()

GivenMetadata = Mapping[str, object] | Sequence[Mapping[str, object] | None] | None


class Memory(ReadableMemory):
    """A folder of documents that are found by meaning. Open one with ``zenso.open(path)``.

    Every change is durable when the call returns and seen at once by every process that has the memory open; an
    interrupted one leaves nothing half-made. One ``Memory`` may be used from several threads, and a folder by several
    processes; writers take turns. After a fork, open it again in the child. ``with`` closes it at the end.

    Insertion order is the order of iteration: a document whose text is replaced counts as new.
    """

    def __init__(
        self, database: Database, model: str | None, load: "Callable[[], ZenEncoder] | None", settings: SearchSettings
    ) -> None:
        super().__init__(database, model, load, settings)
        self._changed = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: str | None = None,
        read_only: bool = False,
        encoder: "ZenEncoder | Callable[[], ZenEncoder] | None" = None,
        settings: SearchSettings = _DEFAULT_SETTINGS,
    ) -> Self:
        """Open the memory in a folder, made with its parents when missing.

        The model is loaded when it is first needed, by adding or searching; without ``model`` it is the one that the
        memory's documents were embedded with. With ``read_only`` nothing is ever
        written; a folder without write permission can be opened either way. ``encoder`` takes the model's place: a
        loaded one, or a function without arguments that loads it when it is needed. ``settings`` say how much work
        searches do; they can also be changed later, as ``memory.settings``.

        Raises
        ------
        StorageError
            If the folder cannot be used, holds something else, or was made by a newer version.
        """
        load = encoder if encoder is None or callable(encoder) else lambda: encoder
        return cls(Database(Path(path), read_only=read_only), model, load, settings)

    def close(self) -> None:
        """Close the memory; closing it again does nothing."""
        if not self._finalizer.alive:
            return
        damaged = self._matrix.take_damaged()
        if not self._database.read_only and (self._changed or damaged):
            tidy(self._database, damaged, closing=True)
        super().close()

    # --- changing -----------------------------------------------------------------------------------------------

    def add(
        self,
        texts: str | Sequence[str],
        *,
        ids: str | Sequence[str] | None = None,
        metadata: GivenMetadata = None,
        on_progress: Progress | None = None,
    ) -> list[str]:
        """Store texts and return their ids, in order, when they are safe on disk.

        Parameters
        ----------
        texts
            One text or several. Only the first 256 tokens of each are embedded; all of it is stored. Lone surrogates
            become U+FFFD.
        ids
            One a text, at most 512 characters each; a stored document of the same id is replaced. Without ids a text
            gets one made of its content, so that adding it again changes nothing but its metadata.
        metadata
            One mapping a text, or one for all: str, int, float, bool, None, or lists of these.
        on_progress
            Called with the number of texts done since the last call.

        Raises
        ------
        InputError
            Naming the first value that cannot be stored; then nothing of this call is stored.
        ModelError
            If the memory's documents were embedded by another model, or the encoder is an aligned one.
        StorageError
            If the disk refuses. A long list is stored in batches; those before the failing one stay.
        """
        given = entries(texts, ids, metadata)
        for batch in batches(given):
            self._put(batch, on_progress)
        return [entry.id for entry in given]

    def delete(self, ids: str | Sequence[str]) -> int:
        """Delete documents and return how many there were; unknown ids are passed over."""
        checked = check_ids(ids)
        with self._database.write() as connection:
            store.begin_change(connection)
            deleted = store.delete(connection, checked)
        self._changed = True
        return deleted

    def delete_where(self, where: Mapping[str, object]) -> int:
        """Delete the documents whose metadata a filter matches, and return how many there were.

        ``where`` as for ``search``; ``{}`` matches every document.

        Raises
        ------
        InputError
            For a filter that makes no sense.
        """
        condition = compile_where(where)
        with self._database.write() as connection:
            store.begin_change(connection)
            deleted = store.delete_matching(connection, condition)
        self._changed = True
        return deleted

    def replace_source(
        self,
        path: str,
        fingerprint: str,
        texts: Sequence[str],
        metadata: GivenMetadata = None,
        *,
        on_progress: Progress | None = None,
    ) -> list[str]:
        """Make ``texts`` the documents of a source, in order, instead of those it had; return their ids.

        All of it happens in one transaction, ``fingerprint`` included: after a crash the source is as it was before,
        and ``source_fingerprint`` says so. Texts the source had before are not embedded again.

        Raises
        ------
        InputError, ModelError, StorageError
            As ``add``.
        """
        given = self.replace_sources([SourceUpdate(path, fingerprint, texts, metadata)], on_progress=on_progress)
        return given[0]

    def replace_sources(
        self, updates: Sequence[SourceUpdate], *, on_progress: Progress | None = None
    ) -> list[list[str]]:
        """Do ``replace_source`` for several sources in one transaction, and return the ids of each.

        Their texts are embedded together, which keeps every processor busy where the sources are small.

        Raises
        ------
        InputError, ModelError, StorageError
            As ``add``; then none of the sources has changed.
        """
        sources, given = checked_sources(updates)
        self._put([entry for entries_of_source in given for entry in entries_of_source], on_progress, sources)
        return [[entry.id for entry in entries_of_source] for entries_of_source in given]

    def remove_source(self, path: str) -> int:
        """Forget a source with its documents and return how many documents it had."""
        source = source_bytes(path)
        with self._database.write() as connection:
            store.begin_change(connection)
            removed = store.remove_source(connection, source)
        self._changed = True
        return removed

    def reembed(self, *, on_progress: Callable[[int, int], None] | None = None) -> int:
        """Move the memory to the model it was opened with, and return how many documents were embedded.

        Needed after an upgrade that changes a model's results, to change the model, and for documents whose embeddings
        ``zenso check --repair`` took away. Meanwhile other processes go on searching, and adding, with the old model;
        then all new embeddings take the place of the old ones in one transaction. A run that was interrupted is gone
        on with by the next. Where nothing is to be done it does nothing.

        Parameters
        ----------
        on_progress
            Called with the number of documents done and their total.

        Raises
        ------
        ModelError
            The model is unknown or cannot be fetched.
        StorageError
            If the disk refuses. What was embedded before is kept for the next run.
        """
        embedded = reembed(self._database, self.encoder, on_progress)
        if embedded:
            self._changed = True
            tidy(self._database, self._matrix.take_damaged(), closing=False)
        return embedded

    # --- keeping ------------------------------------------------------------------------------------------------

    def backup(self, target: str | Path, *, on_progress: CopyProgress | None = None) -> Snapshot:
        """Take a snapshot into a folder of snapshots, made when missing; ``zenso.memory.restore`` puts it back.

        It holds what was stored when the call began. Reading and writing go on meanwhile.

        Parameters
        ----------
        target
            Each snapshot gets a folder of its own in there, named by the moment in UTC.
        on_progress
            Called with the pages copied and their total.

        Raises
        ------
        StorageError
            If the disk refuses; then nothing is left behind.
        """
        with self._database.read() as connection:
            return take_snapshot(connection, self.path.name, Path(target), on_progress)

    def export_to(
        self, path: str | Path, *, embeddings: bool = False, on_progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Write every document to a file and return their number; a file of that name is replaced when all is written.

        Parameters
        ----------
        path
            Its ending says the format: ``.jsonl`` or ``.jsonl.gz``, ``.parquet`` (needs ``zenso[parquet]``), ``.npz``.
        embeddings
            Write vectors and codes too, so that an import need not embed the texts; ``.npz`` always has them.
        on_progress
            Called with the number of documents done and their total.

        Raises
        ------
        InputError
            The format is unknown, or cannot hold a document.
        StorageError
            If the disk refuses; then nothing is left behind.
        """
        return export_documents(self._database, Path(path), embeddings=embeddings, on_progress=on_progress)

    def import_from(self, path: str | Path, *, on_progress: Callable[[int, int], None] | None = None) -> ImportReport:
        """Add the documents of a file, each replacing one of the same id, and say how many there were.

        Texts that are stored under their id already are not embedded again, nor those that come with an embedding of
        the same provenance whose hashes hold. So it may be run again, also after it was interrupted.

        Parameters
        ----------
        path
            A file as ``export_to`` writes it, or one of another program: only ``text`` is needed.
        on_progress
            Called with the number of documents done and their total.

        Raises
        ------
        InputError
            Naming the line or row that cannot be read. Documents of batches before it stay.
        ModelError, StorageError
            As ``add``.
        """

        def store_batch(batch: list[Entry], given: Embeddings) -> int:
            return self._put(batch, None, given=given)

        self._database.require_writable()
        return import_documents(self._database, self.encoder, store_batch, Path(path), on_progress)

    def compact(self) -> CompactReport:
        """Give back the disk space of what was deleted or replaced.

        Needs as much free space as the memory takes. Readers go on meanwhile, writers wait.

        Raises
        ------
        StorageError
            If the disk refuses; then nothing has changed.
        """
        return compact(self._database)

    # --- inside -------------------------------------------------------------------------------------------------

    def _put(
        self,
        batch: list[Entry],
        on_progress: Progress | None,
        sources: Mapping[bytes, str] | None = None,
        given: Embeddings | None = None,
    ) -> int:
        """Store a batch (see ``writing.put``) and return how many of its texts were embedded."""
        self._database.require_writable()
        embedded = put(self._database, self.encoder, batch, sources=sources, given=given, on_progress=on_progress)
        self._changed = True
        tidy(self._database, self._matrix.take_damaged(), closing=False)
        return embedded
