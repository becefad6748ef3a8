"""``Memory``: documents, their 964-byte codes and their metadata in one folder, searched by meaning."""

import json
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from zenso.bitdelta import DIMENSIONS
from zenso.errors import InputError
from zenso.memory import store
from zenso.memory.compact import CompactReport, compact
from zenso.memory.database import Database
from zenso.memory.documents import (
    Document,
    Entry,
    Hits,
    Page,
    SourceUpdate,
    UnknownIdError,
    check_id,
    check_ids,
    check_text,
    entries,
    source_bytes,
    source_entries,
)
from zenso.memory.exchange import ImportReport, export_documents, import_documents
from zenso.memory.filters import compile_where
from zenso.memory.matrix import Matrix, registered_segments
from zenso.memory.migrations import SCHEMA_VERSION
from zenso.memory.reembed import reembed
from zenso.memory.search import Question, answer, nearest
from zenso.memory.snapshots import CopyProgress, Snapshot, take_snapshot
from zenso.memory.stages import Dimensions, SearchSettings, check_dimensions
from zenso.memory.store import Embeddings, Source
from zenso.memory.upkeep import tidy
from zenso.memory.words import query_words, telling_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.zen import ZenEncoder

DEFAULT_MODEL = "all-MiniLM-L6-v2"

# One transaction of ``add`` holds at most this much, so that memory use and the wait for the write lock stay bounded.
BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 16 * 2**20
PAGE_CHARACTERS = 4 * 2**20  # of a page of documents, beyond which it ends

_DEFAULT_SETTINGS = SearchSettings()

Progress = Callable[[int], None]
GivenMetadata = Mapping[str, object] | Sequence[Mapping[str, object] | None] | None


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """What ``Memory.info`` tells: counts, bytes on disk, and what made the embeddings (None while there are none)."""

    path: str
    documents: int
    sources: int
    bytes_on_disk: int
    segments: int
    generation: int
    schema_version: int
    model: str
    provenance: dict[str, Any] | None


class Memory:
    """A folder of documents that are found by meaning. Open one with ``zenso.open(path)``.

    Every change is durable when the call returns and seen at once by every process that has the memory open; an
    interrupted one leaves nothing half-made. One ``Memory`` may be used from several threads, and a folder by several
    processes; writers take turns. After a fork, open it again in the child. ``with`` closes it at the end.

    Insertion order is the order of iteration: a document whose text is replaced counts as new.
    """

    def __init__(
        self, database: Database, model: str | None, load: "Callable[[], ZenEncoder] | None", settings: SearchSettings
    ) -> None:
        self.settings = settings
        self._database = database
        self._model = model
        self._load = load
        self._encoder: ZenEncoder | None = None
        self._loading = threading.Lock()
        self._matrix = Matrix(database.folder)
        self._changed = False
        self._finalizer = weakref.finalize(self, database.close)

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
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Memory({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self._database.folder

    @property
    def encoder(self) -> "ZenEncoder":
        """The encoder of the memory's model, loaded when first asked for.

        Raises
        ------
        ModelError
            The model is unknown or cannot be fetched.
        """
        with self._loading:
            if self._encoder is None:
                if self._load is None:
                    from zenso.zen import load_encoder  # noqa: PLC0415 - reading and deleting need no model

                    self._encoder = load_encoder(self._model or self._stored_model() or DEFAULT_MODEL)
                else:
                    self._encoder = self._load()
            return self._encoder

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
        for batch in _batches(given):
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
        sources: dict[bytes, str] = {}
        given: list[list[Entry]] = []
        for update in updates:
            source = source_bytes(update.path)
            if not isinstance(update.fingerprint, str):
                kind = type(update.fingerprint).__name__
                raise InputError(f"the fingerprint of {update.path!r} is of type {kind}; give a str")
            if source in sources:
                raise InputError(f"the source {update.path!r} is given twice; give each once")
            sources[source] = update.fingerprint
            given.append(source_entries(source, update.texts, update.metadata))
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

        def put(batch: list[Entry], given: Embeddings) -> int:
            return self._put(batch, None, given=given)

        self._database.require_writable()
        return import_documents(self._database, self.encoder, put, Path(path), on_progress)

    def compact(self) -> CompactReport:
        """Give back the disk space of what was deleted or replaced.

        Needs as much free space as the memory takes. Readers go on meanwhile, writers wait.

        Raises
        ------
        StorageError
            If the disk refuses; then nothing has changed.
        """
        return compact(self._database)

    # --- reading ------------------------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        k: int = 5,
        *,
        where: Mapping[str, object] | None = None,
        hybrid: bool = True,
        dimensions: Dimensions = DIMENSIONS[-1],
        explain: bool = False,
    ) -> Hits:
        """Return the ``k`` documents that answer a query best, best first; equal scores by id.

        Hybrid search ranks by the similarity of embeddings and by the words of the query (BM25), and fuses the two
        rankings; with ``hybrid=False`` similarity alone decides. Large memories are searched in stages, coarse to fine
        (``settings``); with ``explain`` the ``explanation`` of the hits tells what each stage found.

        ``dimensions`` is how much of the codes the last stage scores: 1,920, 3,840 or 7,680, the more the better and
        the slower; with ``"auto"`` as much as the query needs, judged by how far the best of the 1,920 stands out.

        ``where`` leaves only documents whose metadata it matches: ``{"lang": "en", "year": {"$gte": 2020}}``, with
        ``$eq $ne $gt $gte $lt $lte $in $nin $contains $icontains $exists $empty`` on fields, ``$and $or $not`` on
        filters, and ``{"$ids": [...]}``.

        Raises
        ------
        InputError
            For an empty query, a ``k`` below 1, other ``dimensions``, or a filter that makes no sense.
        ModelError
            If the memory's documents were embedded by another model.
        """
        checked = check_text(query, "the query")
        _check_k(k)
        sized = check_dimensions(dimensions)
        condition = compile_where(where) if where is not None else None
        with self._database.read() as connection:
            if store.stored_provenance(connection) is None:
                return Hits()  # nothing to search, so no model to load
        encoder = self.encoder
        with self._database.read() as connection:
            store.check_provenance(connection, encoder.provenance.searched, self.path)
        query_codes = encoder.encode_query(checked, self.frequencies).prepare()
        words = self._telling_words(checked) if hybrid else None
        question = Question(query_codes, words, k, condition, sized)
        while True:
            with self._database.read() as connection:
                view = self._matrix.view(connection)
                if view is None:
                    continue  # another thread saw a newer state
                store.check_provenance(connection, encoder.provenance.searched, self.path)
                return answer(connection, view, question, self.settings, explain=explain)

    def search_vector(
        self,
        vector: "Sequence[float] | NDArray[np.floating | np.int16]",
        k: int = 5,
        *,
        where: Mapping[str, object] | None = None,
    ) -> Hits:
        """Return the ``k`` documents whose canonical vectors have the largest cosine with a vector; equal ones by id.

        For callers that hold a vector and no text: ``search`` compares token by token and finds better. Every vector
        is read from the disk (768 bytes a document).

        Parameters
        ----------
        vector
            Shape (384,), of the memory's model: int16 as ``ZenEncoder.encode_vectors`` gives it, or floats of any
            length, which are normalised and rounded without hardware floating point.
        where
            As for ``search``.

        Raises
        ------
        InputError
            For a vector of another width, or one that is zero or not finite; else as ``search``.
        """
        _check_k(k)
        condition = compile_where(where) if where is not None else None
        query = _canonical(vector)
        with self._database.read() as connection:
            return nearest(connection, query, k, condition)

    def find(self, where: Mapping[str, object]) -> list[Document]:
        """Return the documents whose metadata a filter matches, in insertion order; ``where`` as for ``search``.

        Raises
        ------
        InputError
            For a filter that makes no sense.
        """
        condition = compile_where(where)
        with self._database.read() as connection:
            return list(store.documents(connection, condition))

    def page(self, where: Mapping[str, object] | None = None, *, after: int = 0, limit: int = 100) -> Page:
        """Return documents a page at a time, in insertion order; each page sees the memory as it is then.

        Parameters
        ----------
        where
            As for ``search``.
        after
            0 for the first page, then ``next`` of the page before.
        limit
            At most so many documents; fewer where their texts are long.

        Raises
        ------
        InputError
            For a limit below 1, an ``after`` that no page gave, or a filter that makes no sense.
        """
        if limit < 1 or not 0 <= after < 2**63:
            raise InputError(f"limit is {limit} and after {after}; give a limit of at least 1, and what a page gave")
        condition = compile_where(where) if where is not None else None
        with self._database.read() as connection:
            return store.page(connection, condition, after, limit, PAGE_CHARACTERS)

    def vectors(self, ids: str | Sequence[str]) -> "dict[str, NDArray[np.int16]]":
        """Return the canonical vectors, (384,) with scale 32767, of those of the documents that are stored, by id."""
        checked = check_ids(ids)
        with self._database.read() as connection:
            found = {name: store.vector(connection, name) for name in checked}
        return {name: vector for name, vector in found.items() if vector is not None}

    def get(self, id: str) -> Document | None:  # noqa: A002 - the word of every store's interface
        """Return a document, or None if there is none of that id."""
        checked = check_id(id)
        with self._database.read() as connection:
            return store.document(connection, checked)

    def __getitem__(self, id: str) -> Document:  # noqa: A002
        document = self.get(id)
        if document is None:
            raise UnknownIdError(f"no document {id!r} in {self.path}; get() returns None instead of raising")
        return document

    def __contains__(self, id: object) -> bool:  # noqa: A002
        if not isinstance(id, str) or not id:
            return False
        return self.get(id) is not None

    def __len__(self) -> int:
        with self._database.read() as connection:
            return store.counts(connection)[0]

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents there were when iteration began, in insertion order."""
        with self._database.read() as connection:
            yield from store.documents(connection)

    def ids(self) -> list[str]:
        """Return every id in insertion order."""
        with self._database.read() as connection:
            return store.ids(connection)

    def sources(self) -> list[Source]:
        """Return the indexed sources, by path."""
        with self._database.read() as connection:
            return store.sources(connection)

    def source_fingerprint(self, path: str) -> str | None:
        """Return the fingerprint given when a source was last indexed, or None if it never was."""
        source = source_bytes(path)
        with self._database.read() as connection:
            return store.source_fingerprint(connection, source)

    def info(self) -> MemoryInfo:
        """Return counts, sizes and provenance."""
        with self._database.read() as connection:
            documents, sources = store.counts(connection)
            stored = store.stored_provenance(connection)
            return MemoryInfo(
                path=str(self.path),
                documents=documents,
                sources=sources,
                bytes_on_disk=_bytes_on_disk(self.path),
                segments=len(registered_segments(connection)),
                generation=store.generation(connection),
                schema_version=SCHEMA_VERSION,
                model=self._stored_model() or self._model or DEFAULT_MODEL,
                provenance=json.loads(stored) if stored else None,
            )

    def codes(self, ids: Sequence[str]) -> "dict[str, NDArray[np.uint8]]":
        """Return the codes of documents by id, each uint8 (964,); ids that the memory does not hold are left out.

        Raises
        ------
        ModelError
            If the memory's documents were embedded by another model.
        """
        checked = [check_id(one) for one in ids]
        if not checked:
            return {}
        with self._database.read() as connection:
            store.check_provenance(connection, self.encoder.provenance, self.path)
            return store.codes_of(connection, checked)

    def frequencies(self, tokens: "NDArray[np.int32]") -> "tuple[int, NDArray[np.int64]]":
        """Return the number of documents, and how many hold each token: int32 (m,) to int64 (m,)."""
        with self._database.read() as connection:
            return store.frequencies(connection, tokens)

    # --- inside -------------------------------------------------------------------------------------------------

    def _telling_words(self, query: str) -> list[str]:
        """Return the words of a query that are not in too many documents, judged by the rarest token of each."""
        words = query_words(query)
        pieces = self.encoder.word_tokens(words)
        ends = np.cumsum([len(ids) for ids in pieces])
        documents, counts = self.frequencies(np.concatenate([np.empty(0, np.int32), *pieces]))
        held = [int(part.min(initial=documents)) for part in np.split(counts, ends)[: len(words)]]
        return telling_words(words, held, documents)

    def _stored_model(self) -> str | None:
        """Return the id of the model that the documents were embedded with, or None while there are none."""
        with self._database.read() as connection:
            stored = store.stored_provenance(connection)
        return None if stored is None else str(json.loads(stored)["model"]["model_id"])

    def _put(
        self,
        batch: list[Entry],
        on_progress: Progress | None,
        sources: Mapping[bytes, str] | None = None,
        given: Embeddings | None = None,
    ) -> int:
        """Embed what is new in a batch, outside of any transaction, then store the batch in one.

        ``sources`` are those that the batch replaces as a whole, with their fingerprints; ``given`` are embeddings that
        need not be made. Returns how many texts were embedded.
        """
        self._database.require_writable()
        encoder = self.encoder
        store.check_storable(encoder.provenance)
        with self._database.read() as connection:
            store.check_provenance(connection, encoder.provenance, self.path)
            known = store.known_embeddings(connection, batch)
        known = {**(given or {}), **known}
        made = _embed(encoder, batch, known, on_progress)
        with self._database.write() as connection:
            store.check_provenance(connection, encoder.provenance, self.path)
            store.begin_change(connection)
            for source, fingerprint in (sources or {}).items():
                store.set_source(connection, source, fingerprint)
            store.put(connection, batch, known | made, store.provenance_id(connection, encoder.provenance))
        self._changed = True
        tidy(self._database, self._matrix.take_damaged(), closing=False)
        return len(made)


def _batches(given: list[Entry]) -> Iterator[list[Entry]]:
    """Cut a list into transactions of bounded size."""
    batch: list[Entry] = []
    characters = 0
    for entry in given:
        if batch and (len(batch) == BATCH_DOCUMENTS or characters + len(entry.text) > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(entry)
        characters += len(entry.text)
    if batch:
        yield batch


def _check_k(k: int) -> None:
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InputError(f"k is {k!r}; give a whole number of at least 1")


def _canonical(vector: "Sequence[float] | NDArray[np.floating | np.int16]") -> "NDArray[np.int16]":
    """Return a vector as int16 with scale 32767, or raise InputError."""
    from zenso.canonical import normalise, quantise  # noqa: PLC0415 - other searches do not need it

    given = np.asarray(vector)
    if given.ndim != 1 or given.dtype.kind not in "fiu":
        raise InputError(f"the vector has shape {given.shape} and type {given.dtype}; give one row of numbers")
    canonical = given if given.dtype == np.int16 else quantise(normalise(given.astype(np.float64)))
    if not canonical.any():
        raise InputError("the vector is zero, so it has no direction; give an embedding of the memory's model")
    return canonical


def _embed(encoder: "ZenEncoder", batch: list[Entry], known: Embeddings, on_progress: Progress | None) -> Embeddings:
    """Embed each text of a batch that has no embedding yet, once."""
    missing = list(dict.fromkeys(entry.text for entry in batch if entry.text not in known))
    if on_progress is not None and len(missing) < len(batch):
        on_progress(len(batch) - len(missing))
    return store.embedding_rows(missing, encoder.encode_documents(missing, on_progress)) if missing else {}


def _bytes_on_disk(folder: Path) -> int:
    """Add up the files of a folder; those that another process deletes meanwhile count for nothing."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total
