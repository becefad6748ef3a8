"""Storing documents: embedded outside of any transaction, then put into the database in one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from zenso.errors import InputError
from zenso.memory import store
from zenso.memory.database import Database
from zenso.memory.documents import Entry, SourceUpdate, source_bytes, source_entries
from zenso.memory.store import Embeddings

if TYPE_CHECKING:
    from zenso.zen import ZenEncoder

# One transaction holds at most this much, so that memory use and the wait for the write lock stay bounded.
BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 16 * 2**20

Progress = Callable[[int], None]


def batches(given: list[Entry]) -> Iterator[list[Entry]]:
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


def checked_sources(updates: Sequence[SourceUpdate]) -> tuple[dict[bytes, str], list[list[Entry]]]:
    """Return the fingerprints of sources, and the entries of each, in order.

    Raises
    ------
    InputError
        Naming the first value that cannot be stored, or a source that is given twice.
    """
    fingerprints: dict[bytes, str] = {}
    given: list[list[Entry]] = []
    for update in updates:
        source = source_bytes(update.path)
        if not isinstance(update.fingerprint, str):
            kind = type(update.fingerprint).__name__
            raise InputError(f"the fingerprint of {update.path!r} is of type {kind}; give a str")
        if source in fingerprints:
            raise InputError(f"the source {update.path!r} is given twice; give each once")
        fingerprints[source] = update.fingerprint
        given.append(source_entries(source, update.texts, update.metadata))
    return fingerprints, given


def put(
    database: Database,
    encoder: "ZenEncoder",
    batch: list[Entry],
    *,
    sources: Mapping[bytes, str] | None = None,
    given: Embeddings | None = None,
    on_progress: Progress | None = None,
) -> int:
    """Store a batch in one transaction; what is new in it is embedded before. Return how many texts that were.

    ``sources`` are those that the batch replaces as a whole, with their fingerprints; ``given`` are embeddings that
    need not be made.

    Raises
    ------
    ModelError
        If the memory's documents were embedded by another model, or the encoder is an aligned one.
    StorageError
        If the disk refuses.
    """
    store.check_storable(encoder.provenance)
    with database.read() as connection:
        store.check_provenance(connection, encoder.provenance, database.folder)
        known = store.known_embeddings(connection, batch)
    known = {**(given or {}), **known}
    made = _embed(encoder, batch, known, on_progress)
    with database.write() as connection:
        store.check_provenance(connection, encoder.provenance, database.folder)
        store.begin_change(connection)
        for source, fingerprint in (sources or {}).items():
            store.set_source(connection, source, fingerprint)
        store.put(connection, batch, known | made, store.provenance_id(connection, encoder.provenance))
    return len(made)


def _embed(encoder: "ZenEncoder", batch: list[Entry], known: Embeddings, on_progress: Progress | None) -> Embeddings:
    """Embed each text of a batch that has no embedding yet, once."""
    missing = list(dict.fromkeys(entry.text for entry in batch if entry.text not in known))
    if on_progress is not None and len(missing) < len(batch):
        on_progress(len(batch) - len(missing))
    return store.embedding_rows(missing, encoder.encode_documents(missing, on_progress)) if missing else {}
