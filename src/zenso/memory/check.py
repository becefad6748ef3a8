"""Check a memory without its model, and rebuild what can be rebuilt.

Looked at, in this order: the database file (SQLite's own check), the schema, what each document consists of, rows that
belong to none, the frequencies of tokens, the full-text index, and the segment files against the database. `verify.py`
complements it: with the model it finds embeddings that are sound but not what their texts give.

Repair never deletes a document. It rebuilds indexes, triggers, fields, frequencies, the full-text index and segments,
deletes rows that belong to no document, and takes corrupted embeddings away from documents whose text is intact, which
marks them for ``reembed``.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from zenso.errors import IntegrityError, StorageError
from zenso.memory import schema, store
from zenso.memory.database import Database
from zenso.memory.matrix import registered_segments
from zenso.memory.metadata import SqlValue, field_rows, from_json
from zenso.memory.row_checks import SELECT, Row, RowFault, faults
from zenso.memory.segments import FOLDER_NAME, Segment, map_segment
from zenso.memory.upkeep import tidy

OnProgress = Callable[[int, int], None]

_PAGE = 500
_MOST_MESSAGES = 100  # of SQLite's check
_ORPHANS = ("texts", "embeddings", "fields", "next_embeddings")

_FREQUENCIES = """SELECT value, count(*)
    FROM embeddings, json_each(CASE WHEN json_valid(token_set) THEN token_set ELSE '[]' END)
    WHERE json_each.type = 'integer' GROUP BY value"""
_COUNT_EMBEDDINGS = "UPDATE state SET embeddings = (SELECT count(*) FROM embeddings)"
_WRONG_FREQUENCIES = f"""SELECT EXISTS ({_FREQUENCIES} EXCEPT SELECT token, documents FROM frequencies)
    OR EXISTS (SELECT token, documents FROM frequencies WHERE documents EXCEPT {_FREQUENCIES})
    OR (SELECT embeddings FROM state) != (SELECT count(*) FROM embeddings)"""  # noqa: S608 - our constants

_RESTORE = "restore a snapshot with: zenso restore SNAPSHOT {folder} --force"
_REPAIR = "run: zenso check {folder} --repair"
_REEMBED = "run: zenso reembed {folder}"
_AGAIN = "restore a snapshot, or add the document again under its id"
_ROW_REMEDIES = {
    RowFault.TEXT_MISSING: _AGAIN,
    RowFault.TEXT_CHANGED: _AGAIN,
    RowFault.NOT_EMBEDDED: _REEMBED,
    RowFault.CORRUPTED_VECTOR: _REPAIR,
    RowFault.CORRUPTED_CODE: _REPAIR,
    RowFault.CORRUPTED_METADATA: _AGAIN,
    RowFault.WRONG_FIELDS: _REPAIR,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: what kind, where and what exactly, and the remedy. ``id`` names the document if it is about one."""

    fault: str
    detail: str
    remedy: str
    id: str | None = None


@dataclass(slots=True)
class CheckReport:
    """What ``check_memory`` found; ``repaired`` are faults that are gone since."""

    path: str
    documents: int = 0
    segments: int = 0
    findings: list[Finding] = field(default_factory=list)
    repaired: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.findings


def check_memory(path: str | Path, *, repair: bool = False, on_progress: OnProgress | None = None) -> CheckReport:
    """Check a memory and, with ``repair``, rebuild what can be rebuilt and check again.

    Parameters
    ----------
    path
        The folder of the memory.
    repair
        Without it nothing is written.
    on_progress
        Called with the number of documents looked at and their total.

    Raises
    ------
    StorageError
        There is no memory, it was made by another version, or the disk refuses.
    """
    folder = Path(path).absolute()
    first = _Check(folder, on_progress).run()
    if first.report.ok or not repair or first.is_damaged:
        return first.report
    with closing(Database(folder, read_only=False)) as database:
        with database.write() as connection:
            first.repair(connection)
        tidy(database, (), closing=True)
    second = _Check(folder, on_progress).run().report
    second.repaired = [finding for finding in first.report.findings if finding not in second.findings]
    return second


class _Check:
    """One run over a memory, and what a repair needs to know of it."""

    def __init__(self, folder: Path, on_progress: OnProgress | None) -> None:
        self.report = CheckReport(str(folder))
        self.is_damaged = False  # the file itself: nothing in it can be relied on
        self._folder = folder
        self._on_progress = on_progress
        self._faulty: dict[RowFault, list[int]] = {fault: [] for fault in RowFault}
        self._text_faulty: set[int] = set()
        self._missing_schema: list[str] = []
        self._indexes_differ = False
        self._full_text_differs: list[str] = []

    def run(self) -> "_Check":
        """Look at everything, until the file turns out to be damaged."""
        try:
            with closing(Database(self._folder, read_only=True)) as database, database.read() as connection:
                if self._check_file(connection) and self._check_schema(connection):
                    self._check_rows(connection)
                    self._check_belonging(connection)
                    self._check_frequencies(connection)
                    self._check_full_text(connection)
                    self._check_segments(connection)
        except IntegrityError as error:
            self._file_is_damaged(str(error))
        return self

    def repair(self, connection: sqlite3.Connection) -> None:
        """Do what the findings ask for; the segments are written by the caller afterwards."""
        for statement in self._missing_schema:
            connection.execute(statement)
        if self._indexes_differ:
            connection.execute("REINDEX")
        for table in _ORPHANS:
            connection.execute(f"DELETE FROM {table} WHERE seq NOT IN (SELECT seq FROM documents)")  # noqa: S608
        for seq in self._faulty[RowFault.WRONG_FIELDS]:
            metadata = connection.execute("SELECT metadata FROM documents WHERE seq = ?", (seq,)).fetchone()[0]
            connection.execute("DELETE FROM fields WHERE seq = ?", (seq,))
            rows = [(seq, name, value) for name, value in field_rows(from_json(metadata))]
            connection.executemany("INSERT OR IGNORE INTO fields VALUES (?, ?, ?)", rows)
        for seq in (*self._faulty[RowFault.CORRUPTED_VECTOR], *self._faulty[RowFault.CORRUPTED_CODE]):
            if seq not in self._text_faulty:
                connection.execute("DELETE FROM embeddings WHERE seq = ?", (seq,))
        connection.execute(_COUNT_EMBEDDINGS)
        connection.execute("DELETE FROM frequencies")
        connection.execute(f"INSERT INTO frequencies {_FREQUENCIES}")
        for table in self._full_text_differs:
            connection.execute(f'INSERT INTO "{table}" ("{table}") VALUES (\'rebuild\')')  # noqa: S608
        store.begin_change(connection)
        store.begin_epoch(connection)

    def _find(self, fault: str, detail: str, remedy: str, document_id: str | None = None) -> None:
        finding = Finding(fault, detail, remedy.format(folder=self._folder), document_id)
        self.report.findings.append(finding)

    def _file_is_damaged(self, detail: str) -> None:
        self.is_damaged = True
        self._find("damaged database", detail, _RESTORE)

    def _check_file(self, connection: sqlite3.Connection) -> bool:
        """Let SQLite check its file; wrong entries of indexes alone can be put right."""
        messages = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST_MESSAGES})")]
        if messages == ["ok"]:
            return True
        if all("index" in message for message in messages):
            self._indexes_differ = True
            for message in messages:
                self._find("damaged index", message, _REPAIR)
            return True
        for message in messages:
            self._file_is_damaged(message)
        return False

    def _check_schema(self, connection: sqlite3.Connection) -> bool:
        """Compare tables, indexes and triggers with those of this version."""
        expected, found = schema.expected(), schema.found(connection)
        complete = True
        for (kind, name), sql in expected.items():
            if found.get((kind, name)) == sql:
                continue
            if (kind, name) not in found and kind in ("index", "trigger"):
                self._missing_schema.append(sql)
                self._find("missing schema", f"the {kind} {name}", _REPAIR)
            else:
                complete = False
                self._find("damaged schema", f"the {kind} {name} is missing or another", _RESTORE)
        self.is_damaged |= not complete
        return complete

    def _check_rows(self, connection: sqlite3.Connection) -> None:
        total = self.report.documents = store.counts(connection)[0]
        done, after = 0, -(2**63)
        while True:
            query = f"{SELECT} WHERE documents.seq > ? ORDER BY documents.seq LIMIT {_PAGE}"
            rows = [Row(*row) for row in connection.execute(query, (after,))]
            if not rows:
                return
            fields: dict[int, set[tuple[str, SqlValue]]] = {}
            select = "SELECT seq, name, value FROM fields WHERE seq BETWEEN ? AND ?"
            for seq, name, value in connection.execute(select, (rows[0].seq, rows[-1].seq)):
                fields.setdefault(seq, set()).add((name, value))
            for row in rows:
                for fault, detail in faults(row, fields.get(row.seq, set())):
                    self._faulty[fault].append(row.seq)
                    self._find(fault, detail, _ROW_REMEDIES[fault], row.id.decode("utf-8", "replace"))
            after = rows[-1].seq
            done += len(rows)
            if self._on_progress is not None:
                self._on_progress(done, total)

    def _check_belonging(self, connection: sqlite3.Connection) -> None:
        """Look for rows that belong to no document, and for ends of references."""
        self._text_faulty = {*self._faulty[RowFault.TEXT_MISSING], *self._faulty[RowFault.TEXT_CHANGED]}
        for table in _ORPHANS:
            query = f"SELECT count(*) FROM {table} WHERE seq NOT IN (SELECT seq FROM documents)"  # noqa: S608
            count = connection.execute(query).fetchone()[0]
            if count:
                self._find("orphans", f"{count} rows of {table} belong to no document", _REPAIR)
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
            self._find("broken reference", f"row {row} of {table} names a row of {parent} that is missing", _RESTORE)
        for digest, text in connection.execute("SELECT digest, CAST(json AS BLOB) FROM provenance"):
            if blake3(text).digest() != digest:
                self._find("corrupted provenance", f"that of digest {bytes(digest).hex()}", _RESTORE)
        count = connection.execute("SELECT count(*) FROM documents WHERE seq IN (SELECT seq FROM removed)").fetchone()[
            0
        ]
        if count:
            self._find("wrong removals", f"{count} documents are listed as removed", _REPAIR)

    def _check_frequencies(self, connection: sqlite3.Connection) -> None:
        if connection.execute(_WRONG_FREQUENCIES).fetchone()[0]:
            self._find("wrong frequencies", "the counts of tokens are not those of the embeddings", _REPAIR)

    def _check_full_text(self, connection: sqlite3.Connection) -> None:
        """Ask SQLite whether each full-text index holds what its table holds, which it answers to writers only."""
        tables = schema.full_text_tables(connection)
        if not tables:
            return
        try:
            with closing(Database(self._folder, read_only=False)) as database:
                for table in tables:
                    self._ask_full_text(database, table)
        except StorageError:
            return  # a folder that may not be written: as far as can be told

    def _ask_full_text(self, database: Database, table: str) -> None:
        try:
            with database.write() as connection:
                connection.execute(f'INSERT INTO "{table}" ("{table}", rank) VALUES (\'integrity-check\', 1)')  # noqa: S608
        except IntegrityError:
            self._full_text_differs.append(table)
            self._find("wrong full-text index", f"{table} is not what the texts give", _REPAIR)

    def _check_segments(self, connection: sqlite3.Connection) -> None:
        segments = registered_segments(connection)
        self.report.segments = len(segments)
        covered = 0
        for segment in segments:
            wrong = "its rows do not follow those before" if segment.first_seq != covered + 1 else ""
            wrong = wrong or self._compare(segment, connection)
            if wrong:
                self._find("wrong segment", f"{segment.file_name}: {wrong}", _REPAIR)
            covered = segment.last_seq

    def _compare(self, segment: Segment, connection: sqlite3.Connection) -> str:
        """Say how a segment differs from the database; empty if it does not."""
        try:
            seqs, codes, _ = map_segment(self._folder / FOLDER_NAME, segment)
        except FileNotFoundError:
            return "the file is missing"
        except (IntegrityError, OSError) as error:
            return str(error)
        between = (segment.first_seq, segment.last_seq)
        faulty = {*self._faulty[RowFault.CORRUPTED_CODE], *self._faulty[RowFault.NOT_EMBEDDED]}
        alive = connection.execute("SELECT seq, code FROM embeddings WHERE seq BETWEEN ? AND ?", between)
        stored = {seq: code for seq, code in alive if seq not in faulty}
        removed = connection.execute("SELECT seq FROM removed WHERE seq BETWEEN ? AND ?", between)
        expected = stored.keys() | faulty | {row[0] for row in removed}
        held = {int(seq): index for index, seq in enumerate(seqs)}
        missing = len(stored.keys() - held.keys())
        if missing:
            return f"it lacks {missing} documents"
        unknown = len(held.keys() - expected)
        if unknown:
            return f"it holds {unknown} rows that are neither documents nor removed"
        differing = sum(codes[held[seq]].tobytes() != code for seq, code in stored.items())
        return f"the codes of {differing} documents are not those of the database" if differing else ""
