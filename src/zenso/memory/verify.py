"""Recompute stored embeddings, and name the cause of every one that is not what its text gives.

A row holds a text, the id of the chunk that was embedded (which names its text), a vector, the vector's hash, a code,
and the provenance of all that. Causes follow from comparisons alone, in this order; a row may have several:

================  ====================================================================================================
text changed      the chunk id is not that of the stored text under the document's id
other model       the provenance cannot be read, is not what its digest says, or differs from the running encoder's in
                  model, weights, tokenizer, artifact, slots or format of the code; nothing is recomputed then
corrupted vector  the vector and its hash do not belong together; or they do, text, model and kernel are those of the
                  provenance, and the vector is not what the text gives (vector and hash were replaced together)
other kernel      the provenance names another kernel, vector and hash belong together, and the vector is not what the
                  running kernel gives
corrupted code    the vector is right and the code is not what the text gives; or, where the text cannot tell, the
                  code's first slot is not the sign bits of the vector
================  ====================================================================================================

Another kernel that gives the same results is a note and no fault: builds of one version are meant to.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from blake3 import blake3

from zenso.bitdelta import CODE_BYTES, SLOT_WIDTH, slot_bits
from zenso.bitdelta.format import HEADER_BYTES, SLOT_BYTES
from zenso.errors import InputError
from zenso.memory.database import Database
from zenso.memory.documents import check_ids
from zenso.memory.sampling import certainty_of, sample_size

if TYPE_CHECKING:
    from zenso.zen import Provenance, ZenEncoder

DEFAULT_LOSS = 0.01

_PAGE = 256  # rows; each page is read in a transaction of its own, so that writers are not held up for hours
_KERNEL_KEYS = {"model.version"}  # the digest of the build, ``model.kernel``, is no difference in itself

_SELECT = """SELECT documents.id, CAST(texts.text AS BLOB), CAST(provenance.json AS BLOB), provenance.digest,
    CAST(code AS BLOB), CAST(vector AS BLOB), CAST(content_hash AS BLOB), CAST(chunk_id AS BLOB)
    FROM documents LEFT JOIN texts USING (seq) LEFT JOIN embeddings USING (seq)
    LEFT JOIN provenance ON provenance.id = documents.provenance"""


class Cause(StrEnum):
    """Why a stored embedding is not what its text gives; see the module for the exact conditions."""

    TEXT_CHANGED = "text changed"
    OTHER_MODEL = "other model"
    OTHER_KERNEL = "other kernel"
    CORRUPTED_VECTOR = "corrupted vector"
    CORRUPTED_CODE = "corrupted code"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One fault of one document."""

    id: str
    cause: Cause
    detail: str


@dataclass(slots=True)
class VerifyReport:
    """What ``verify_memory`` found.

    If a share of at least ``loss`` of all documents had a fault, one would be among those checked with probability
    ``certainty``.
    """

    documents: int
    checked: int
    loss: float
    certainty: float
    mismatches: list[Mismatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every embedding checked is what its text gives."""
        return not self.mismatches


class _Row(NamedTuple):
    """What is stored of a document; None where a row of another table is missing."""

    id: str
    text: bytes | None
    provenance: bytes | None
    provenance_digest: bytes | None
    code: bytes | None
    vector: bytes | None
    content_hash: bytes | None
    chunk_id: bytes | None


class _Fresh(NamedTuple):
    """What the running encoder gives for a text."""

    vector: bytes
    code: bytes


class _Origin(NamedTuple):
    """How a provenance differs from the running encoder's."""

    model: str  # what sets the models apart; empty where results can be compared
    kernel: str  # digest of the kernel where it is another one, else empty
    same_code: bool  # whether codes are known to be of the same format


def verify_memory(
    path: str | Path,
    encoder: "ZenEncoder | Callable[[], ZenEncoder]",
    *,
    ids: Sequence[str] | None = None,
    sample: int | None = None,
    certainty: float | None = None,
    loss: float = DEFAULT_LOSS,
    random: Random | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Recompute the embeddings of a memory, all of them or a random sample, and report every mismatch.

    Nothing is written. Documents that other processes add meanwhile are left out, as are those they delete.

    Parameters
    ----------
    path : str or Path
        The folder of the memory.
    encoder : ZenEncoder, or a function without arguments that loads one
        It is loaded only when there is a document to check.
    ids : sequence of str, optional
        Check these documents only; ids that are not stored count for nothing.
    sample : int, optional
        Number of documents to draw.
    certainty : float, optional
        Draw as many as are needed to find a share of ``loss`` bad documents with this probability.
    loss : float
        Share of bad documents that ``certainty`` is about.
    random : Random, optional
        Draws the sample; the operating system's source by default, which nobody can foretell.
    on_progress : callable, optional
        Called with the number of documents done and their total.

    Raises
    ------
    InputError
        A sample below 1, both a sample and a certainty, or a share that is not above 0 and at most 1.
    StorageError
        There is no memory, or it cannot be read.
    ModelError
        The model cannot be loaded.
    """
    if sample is not None and (certainty is not None or sample < 1):
        raise InputError(f"sample is {sample} and certainty {certainty}; give one of them, a sample of at least 1")
    with closing(Database(Path(path), read_only=True)) as database:
        with database.read() as connection:
            rows = _seqs(connection, ids)
        population = len(rows)
        if certainty is not None:
            sample = sample_size(population, certainty, loss)
        if sample is not None and sample < population:
            rows = sorted((random or SystemRandom()).sample(rows, sample))
        report = VerifyReport(population, 0, loss, certainty_of(population, len(rows), loss))
        if rows:
            _Verifier(encoder() if callable(encoder) else encoder, report, len(rows), on_progress).run(database, rows)
    return report


def _seqs(connection: sqlite3.Connection, ids: Sequence[str] | None) -> list[int]:
    if ids is None:
        return [row[0] for row in connection.execute("SELECT seq FROM documents ORDER BY seq")]
    select = "SELECT seq FROM documents WHERE id IN (SELECT value FROM json_each(?)) ORDER BY seq"
    return [row[0] for row in connection.execute(select, (json.dumps(check_ids(ids)),))]


class _Verifier:
    """One run: what it found so far, and the provenances it has met."""

    def __init__(
        self,
        encoder: "ZenEncoder",
        report: VerifyReport,
        total: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._encoder = encoder
        self._report = report
        self._total = total
        self._on_progress = on_progress
        self._done = 0
        self._origins: dict[tuple[bytes | None, bytes | None], _Origin] = {}
        self._agreeing: dict[str, int] = {}  # by digest of another kernel

    def run(self, database: Database, seqs: Sequence[int]) -> None:
        for start in range(0, len(seqs), _PAGE):
            page = seqs[start : start + _PAGE]
            with database.read() as connection:
                rows = _read(connection, page)
            self._check(rows)
            self._advance(start + len(page) - self._done)
        self._report.notes += [
            f"{count:,} embeddings were made by another build of the kernel ({kernel}) and are the same here"
            for kernel, count in sorted(self._agreeing.items())
        ]

    def _check(self, rows: list[_Row]) -> None:
        origins = [self._origin(row) for row in rows]
        fresh = self._recompute([row for row, origin in zip(rows, origins, strict=True) if not origin.model])
        for row, origin in zip(rows, origins, strict=True):
            found = [Mismatch(row.id, cause, detail) for cause, detail in _judge(row, origin, fresh.get(row.text))]
            self._report.mismatches += found
            self._report.checked += 1
            if origin.kernel and not origin.model and not found:
                self._agreeing[origin.kernel] = self._agreeing.get(origin.kernel, 0) + 1

    def _recompute(self, rows: list[_Row]) -> dict[bytes | None, _Fresh]:
        """Embed the texts that can be embedded, by their bytes."""
        texts = {row.text: text for row in rows if (text := _embeddable(row.text)) is not None}
        if not texts:
            return {}
        embedded = self._encoder.encode_documents(list(texts.values()), self._advance)
        return {
            stored: _Fresh(vector.astype("<i2").tobytes(), code.tobytes())
            for stored, vector, code in zip(texts, embedded.vectors, embedded.codes, strict=True)
        }

    def _origin(self, row: _Row) -> _Origin:
        key = row.provenance, row.provenance_digest
        if key not in self._origins:
            self._origins[key] = _compare(*key, self._encoder.provenance)
        return self._origins[key]

    def _advance(self, count: int) -> None:
        self._done += count
        if self._on_progress is not None and count:
            self._on_progress(self._done, self._total)


def _read(connection: sqlite3.Connection, seqs: Sequence[int]) -> list[_Row]:
    marks = ",".join("?" * len(seqs))
    query = f"{_SELECT} WHERE documents.seq IN ({marks}) ORDER BY documents.seq"
    return [_Row(*row) for row in connection.execute(query, seqs)]


def _compare(stored: bytes | None, digest: bytes | None, running: "Provenance") -> _Origin:
    """Tell how a stored provenance, given as its JSON and that JSON's digest, differs from the running one."""
    if stored is None:
        return _Origin("its provenance is missing", "", same_code=False)
    try:
        text = stored.decode("utf-8")
        different = running.differences(text)
        kernel = str(json.loads(text)["model"]["kernel"])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return _Origin("its provenance cannot be read", "", same_code=False)
    if blake3(stored).digest() != digest:
        return _Origin("its provenance is not what the stored digest says", "", same_code=False)
    other = kernel != running.model.kernel or bool(_KERNEL_KEYS & set(different))
    keys = [key for key in different if key not in _KERNEL_KEYS]
    model = f"its provenance differs from the running encoder's in {', '.join(keys)}" if keys else ""
    return _Origin(model, kernel if other else "", same_code="code" not in keys)


def _embeddable(stored: bytes | None) -> str | None:
    """Return a stored text, or None where there is nothing that could be embedded."""
    from zenso.canonical import check_texts  # noqa: PLC0415 - the encoder that runs here has loaded it

    if stored is None:
        return None
    try:
        text = stored.decode("utf-8")
        check_texts([text])
    except (UnicodeDecodeError, InputError):
        return None
    return text


def _judge(row: _Row, origin: _Origin, fresh: _Fresh | None) -> Iterator[tuple[Cause, str]]:
    """Yield every fault of a row; ``fresh`` is None where its text was not embedded."""
    if origin.model:
        yield Cause.OTHER_MODEL, origin.model
        fresh = None
    if row.vector is None or row.code is None:
        yield Cause.CORRUPTED_VECTOR, "it is missing"
        yield Cause.CORRUPTED_CODE, "it is missing"
        return
    if not _is_text_embedded(row):
        same = fresh is not None and fresh.vector == row.vector
        yield Cause.TEXT_CHANGED, f"it is not the text that was embedded{', yet has the same vector' if same else ''}"
        fresh = None
    consistent = blake3(row.vector).digest() == row.content_hash
    if not consistent:
        right = fresh is not None and fresh.vector == row.vector
        yield Cause.CORRUPTED_VECTOR, "its hash is wrong, the vector is right" if right else "its hash is another"
    elif fresh is not None and fresh.vector != row.vector:
        count = _differing(fresh.vector, row.vector)
        if origin.kernel:
            yield Cause.OTHER_KERNEL, f"{origin.kernel} made it, and {count} numbers of the vector are others here"
        else:
            yield Cause.CORRUPTED_VECTOR, f"{count} numbers are not what the text gives, though its hash fits"
    if fresh is not None and (fresh.vector == row.vector or not origin.kernel):
        if fresh.code != row.code:
            yield Cause.CORRUPTED_CODE, "it is not what the text gives"
    elif origin.same_code and not _code_may_fit(row.code, row.vector if consistent else None):
        yield Cause.CORRUPTED_CODE, "it does not fit the vector"


def _is_text_embedded(row: _Row) -> bool:
    from zenso.canonical import chunk_id  # noqa: PLC0415 - the encoder that runs here has loaded it

    if row.text is None:
        return False
    try:
        return chunk_id(row.id, 0, row.text.decode("utf-8")) == row.chunk_id
    except UnicodeDecodeError:
        return False


def _differing(fresh: bytes, stored: bytes) -> int:
    """Count the numbers that differ; all of them where the lengths do."""
    a = np.frombuffer(fresh, "<i2")
    return len(a) if len(fresh) != len(stored) else int((a != np.frombuffer(stored, "<i2")).sum())


def _code_may_fit(code: bytes, stored: bytes | None) -> bool:
    """Tell whether slot 0 of a code has the sign bits of a vector, as far as that can be told."""
    if len(code) != CODE_BYTES:
        return False
    if stored is None or len(stored) != 2 * SLOT_WIDTH:
        return True
    first = slot_bits(np.frombuffer(stored, "<i2")[None])
    return first.tobytes() == code[HEADER_BYTES : HEADER_BYTES + SLOT_BYTES]
