"""The records a node holds, what it found out about them, and reputations: one SQLite file.

The file is consistent after a crash at any moment. Commits are not forced to the disk one by one: a power cut may lose
the last ones, which come back from the other nodes by synchronisation.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zenso.bitdelta.format import HEADER_BYTES, SLOT_BYTES
from zenso.errors import IntegrityError, StorageError
from zenso.network.dag_cbor import CID_BYTES, content_id
from zenso.network.reconciliation import SortedIds
from zenso.network.records import LESSONS, Operation, Record, decode_record
from zenso.network.state import Entry, State
from zenso.robust import Reputation

if TYPE_CHECKING:
    from numpy.typing import NDArray

APPLICATION_ID = 0x5A4E4F44  # "ZNOD"
SCHEMA_VERSION = 1
_BUSY_SECONDS = 30.0

_TABLES = (
    """CREATE TABLE records (
        id BLOB PRIMARY KEY,
        domain TEXT NOT NULL,
        operation TEXT NOT NULL,
        creator BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        nonce INTEGER NOT NULL,
        targets BLOB NOT NULL,
        vote INTEGER NOT NULL,
        bits BLOB NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (creator, nonce)
    )""",
    "CREATE INDEX records_created ON records (creator, created_at)",
    # What recomputing a record's code gave: 1 right, 0 wrong. A wrong one's bytes are gone from ``records``.
    "CREATE TABLE recomputed (id BLOB PRIMARY KEY, is_right INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE reputations (
        subject TEXT PRIMARY KEY, good REAL NOT NULL, bad REAL NOT NULL, at REAL NOT NULL
    ) WITHOUT ROWID""",
)


class RecordStore:
    """Records on disk, the state they make, and reputations. Safe from several threads of one process.

    Parameters
    ----------
    path : Path
        An SQLite file; made when missing, with its folder.
    most_bytes : int, optional
        That the file is to hold; ``has_room`` tells whether it does. Any number by default.
    most_reputations : int
        Keys and peers whose reputation is kept; beyond it those go that have the fewest good outcomes, and of equal
        ones those with the fewest bad ones: they are next to newcomers, whom anyone can be again anyway.

    Raises
    ------
    StorageError
        It cannot be used, belongs to another program, or was made by a newer version.
    IntegrityError
        It is damaged.
    """

    def __init__(self, path: Path, *, most_bytes: int | None = None, most_reputations: int = 100_000) -> None:
        self.path = path
        self._most_bytes, self._most_reputations = most_bytes, most_reputations
        self._lock = threading.RLock()
        self._state = State()
        self._nearby: dict[str, _Signs] = {}
        self._reputations: dict[str, Reputation] = {}
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
                self._load()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        with self._lock:
            self._connection.close()

    # --- records ------------------------------------------------------------------------------------------------

    def __contains__(self, record_id: bytes) -> bool:
        with self._lock:
            return record_id in self._state

    def __len__(self) -> int:
        with self._lock:
            return len(self._state)

    def get(self, record_id: bytes) -> Record | None:
        """Return a record by its id (36 bytes), or None.

        Raises
        ------
        IntegrityError
            Its bytes are not those that its id names.
        """
        data = self.raw([record_id]).get(record_id)
        if data is None:
            return None
        if content_id(data) != record_id:
            raise IntegrityError(f"a record in {self.path} is damaged; remove the file, and synchronise again")
        return decode_record(data)

    def raw(self, record_ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bytes of records by id, as they are sent to peers; those that are not held are left out."""
        found: dict[bytes, bytes] = {}
        with self._lock, self._translated():
            for one in record_ids:
                row = self._connection.execute("SELECT data FROM records WHERE id = ?", (one,)).fetchone()
                if row is not None:
                    found[one] = row[0]
        return found

    def entry(self, record_id: bytes) -> Entry | None:
        """Return what the state depends on of a record, or None: no read of the disk."""
        with self._lock:
            return self._state.get(record_id)

    def add(self, record: Record) -> bool:
        """Store a record that was admitted; return whether it is new. It is in the state at once."""
        entry = Entry.of(record)
        lesson = record.operation in LESSONS
        bits = record.code[HEADER_BYTES : HEADER_BYTES + SLOT_BYTES] if lesson else b""
        row = (
            entry.id,
            entry.domain,
            str(entry.operation),
            entry.creator,
            entry.created_at,
            record.nonce,
            b"".join(entry.targets),
            entry.vote,
            bits,
            record.encoded,
        )
        with self._lock, self._translated():
            if entry.id in self._state or self.recomputed(entry.id) is False:
                return False
            self._connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._state.add(entry)
            if lesson:
                self._nearby.setdefault(entry.domain, _Signs()).add(entry.id, bits)
        return True

    def has_room(self, *, for_all: bool) -> bool:
        """Tell whether there is room for records of any kind; a sixteenth is kept for deletions and disputes."""
        if self._most_bytes is None:
            return True
        with self._lock, self._translated():
            pages = self._pragma("page_count") - self._pragma("freelist_count")
            used = pages * self._pragma("page_size")
        return used < self._most_bytes - (self._most_bytes // 16 if for_all else 0)

    def has_nonce(self, creator: bytes, nonce: int) -> bool:
        """Tell whether a creator has used a nonce."""
        with self._lock, self._translated():
            select = "SELECT 1 FROM records WHERE creator = ? AND nonce = ?"
            return self._connection.execute(select, (creator, nonce)).fetchone() is not None

    def count_created(self, creator: bytes, first: int, last: int) -> int:
        """Return how many records of a creator are of a time from ``first`` to ``last``, milliseconds."""
        select = "SELECT count(*) FROM records WHERE creator = ? AND created_at BETWEEN ? AND ?"
        with self._lock, self._translated():
            count: int = self._connection.execute(select, (creator, first, last)).fetchone()[0]
        return count

    def recomputed(self, record_id: bytes) -> bool | None:
        """Tell whether a record's code was found right; None where it was not recomputed."""
        with self._lock, self._translated():
            select = "SELECT is_right FROM recomputed WHERE id = ?"
            row = self._connection.execute(select, (record_id,)).fetchone()
        return None if row is None else bool(row[0])

    def set_recomputed(self, record_id: bytes, *, is_right: bool) -> None:
        """Keep what recomputing a record gave; a wrong one leaves the set for good, with what it did."""
        with self._lock, self._translated(), self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO recomputed VALUES (?, ?)", (record_id, int(is_right)))
            if not is_right:
                self._connection.execute("DELETE FROM records WHERE id = ?", (record_id,))
                entry = self._state.get(record_id)
                self._state.exclude(record_id)
                if entry is not None and entry.domain in self._nearby:
                    self._nearby[entry.domain].discard(record_id)

    def nearest(self, domain: str, code: bytes, within: int) -> list[bytes]:
        """Return lessons that stand whose pooled vectors differ from a code's in few of 384 signs, nearest first.

        Parameters
        ----------
        domain : str
        code : bytes
            964 bytes.
        within : int
            The number of signs.
        """
        bits = code[HEADER_BYTES : HEADER_BYTES + SLOT_BYTES]
        with self._lock:
            signs = self._nearby.get(domain)
            return [one for one in signs.nearest(bits, within) if self._state.stands(one)] if signs else []

    # --- state --------------------------------------------------------------------------------------------------

    def domains(self) -> dict[str, int]:
        """Return the number of records by domain."""
        with self._lock:
            return self._state.domains()

    def ids(self, domain: str) -> SortedIds:
        """Return the digests (32 bytes, what ``Reconciler`` takes) of a domain's records, as they are now."""
        with self._lock:
            return self._state.sorted_ids(domain)

    def digest(self, domain: str) -> bytes:
        """Return 32 bytes that are equal on nodes that hold the same records of a domain."""
        with self._lock:
            return self._state.digest(domain)

    def lessons(self, domain: str) -> list[bytes]:
        """Return the ids of the lessons that stand: not deleted, not replaced, not proven wrong."""
        with self._lock:
            return self._state.lessons(domain)

    def stands(self, record_id: bytes) -> bool:
        """Tell whether a record is one of these lessons."""
        with self._lock:
            return self._state.stands(record_id)

    def votes(self, record_id: bytes) -> dict[bytes, int]:
        """Return the votes on a lesson, 1 or -1, by key."""
        with self._lock:
            return self._state.votes(record_id)

    def disputers(self, domain: str, record_id: bytes) -> list[bytes]:
        """Return the keys that dispute a record, which need not be in the store."""
        with self._lock:
            return self._state.disputers(domain, record_id)

    def count_votes(self, voter: bytes, creator: bytes) -> int:
        """Return how many votes of a key are about records of another."""
        select = """SELECT count(*) FROM records AS votes JOIN records AS lessons ON lessons.id = votes.targets
            WHERE votes.creator = ? AND votes.operation = 'vote' AND lessons.creator = ?"""
        with self._lock, self._translated():
            count: int = self._connection.execute(select, (voter, creator)).fetchone()[0]
        return count

    # --- reputations --------------------------------------------------------------------------------------------

    def reputation(self, subject: str) -> Reputation:
        """Return the reputation of a key or peer; one of whom nothing is known is a newcomer."""
        with self._lock:
            return self._reputations.get(subject, Reputation())

    def reputations(self) -> dict[str, Reputation]:
        """Return all that is known."""
        with self._lock:
            return dict(self._reputations)

    def observe(self, subject: str, at: float, *, good: bool, weight: float) -> Reputation:
        """Add an outcome to a reputation, at a time in seconds since 1970, and return it."""
        with self._lock, self._translated():
            new = self.reputation(subject).observe(at, good=good, weight=weight)
            row = (subject, new.good, new.bad, new.at)
            self._connection.execute("INSERT OR REPLACE INTO reputations VALUES (?, ?, ?, ?)", row)
            self._reputations[subject] = new
            if len(self._reputations) > self._most_reputations:
                self._forget(at)
        return new

    def _forget(self, now: float) -> None:
        """Forget a tenth of the reputations: those whose loss changes least."""

        def loss(subject: str) -> tuple[float, float]:
            known = self._reputations[subject].at_time(now)
            return known.good, known.bad

        gone = nsmallest(max(1, self._most_reputations // 10), self._reputations, key=loss)
        with self._transaction():
            self._connection.executemany("DELETE FROM reputations WHERE subject = ?", ((one,) for one in gone))
        for one in gone:
            del self._reputations[one]

    # --- inside -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        version, application = self._pragma("user_version"), self._pragma("application_id")
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != APPLICATION_ID:
            raise StorageError(f"{self.path} is a database but not of a node's records; choose another file")
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"{self.path} was made by a newer Zenso (version {version}; this one reads {SCHEMA_VERSION}); upgrade"
            )
        self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            with self._transaction():
                for statement in _TABLES:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _load(self) -> None:
        rows = self._connection.execute(
            "SELECT id, operation, domain, creator, created_at, targets, vote, bits FROM records ORDER BY rowid"
        )
        for cid, operation, domain, creator, created_at, targets, vote, bits in rows:
            named = tuple(targets[at : at + CID_BYTES] for at in range(0, len(targets), CID_BYTES))
            self._state.add(Entry(cid, Operation(operation), domain, creator, created_at, named, vote))
            if bits:
                self._nearby.setdefault(domain, _Signs()).add(cid, bits)
        for subject, good, bad, at in self._connection.execute("SELECT subject, good, bad, at FROM reputations"):
            self._reputations[subject] = Reputation(good, bad, at)

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise IntegrityError(
                    f"{self.path} is damaged ({error}); move it away, and synchronise with the other nodes again"
                ) from error
            raise StorageError(f"{self.path}: {error}; see to its disk and its permissions") from error
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}; open it again") from error
        except OSError as error:
            raise StorageError(f"{self.path} cannot be used ({error.strerror}); choose another file") from error


class _Signs:
    """Signs of the pooled vectors of lessons, 48 bytes each, in a growing array."""

    def __init__(self) -> None:
        self._ids: list[bytes] = []
        self._rows: NDArray[np.uint64] = np.empty((64, SLOT_BYTES // 8), np.uint64)

    def add(self, cid: bytes, bits: bytes) -> None:
        if len(self._ids) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[len(self._ids)] = np.frombuffer(bits, np.uint64)
        self._ids.append(cid)

    def discard(self, cid: bytes) -> None:
        if cid in self._ids:
            place, last = self._ids.index(cid), self._ids.pop()
            if last != cid:
                self._ids[place], self._rows[place] = last, self._rows[len(self._ids)]

    def nearest(self, bits: bytes, within: int) -> list[bytes]:
        differing = np.bitwise_count(self._rows[: len(self._ids)] ^ np.frombuffer(bits, np.uint64)).sum(axis=1)
        near = np.flatnonzero(differing <= within)
        return [self._ids[place] for place in near[np.argsort(differing[near], kind="stable")]]
