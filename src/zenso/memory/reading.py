"""What a memory answers: searches, documents, sources, codes and counts."""

import json
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from zenso.bitdelta import DIMENSIONS
from zenso.errors import InputError
from zenso.memory import store
from zenso.memory.database import Database
from zenso.memory.documents import Document, Hits, Page, UnknownIdError, check_id, check_ids, check_text, source_bytes
from zenso.memory.filters import compile_where
from zenso.memory.info import MemoryInfo, bytes_on_disk
from zenso.memory.matrix import Matrix, registered_segments
from zenso.memory.migrations import SCHEMA_VERSION
from zenso.memory.search import Question, answer, canonical_vector, check_k, nearest
from zenso.memory.stages import Dimensions, SearchSettings, check_dimensions
from zenso.memory.store import Source
from zenso.memory.words import query_words, telling_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.zen import ZenEncoder

DEFAULT_MODEL = "all-MiniLM-L6-v2"
PAGE_CHARACTERS = 4 * 2**20  # of a page of documents, beyond which it ends


class ReadableMemory:
    """The part of ``Memory`` that changes nothing: an open folder, its model, and everything that is read from it."""

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
        self._finalizer = weakref.finalize(self, database.close)

    def close(self) -> None:
        """Close the memory; closing it again does nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

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
        check_k(k)
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
        check_k(k)
        condition = compile_where(where) if where is not None else None
        query = canonical_vector(vector)
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
                bytes_on_disk=bytes_on_disk(self.path),
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
