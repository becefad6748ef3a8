"""Upkeep of the segment files: new rows are sealed into them, damaged and mostly dead ones are written anew.

All of it is done under the database's write lock and recorded in the same transaction. A segment is always replaced
by segments that stand for at least the same rows, so rows once covered stay covered, and their entries in ``removed``
may go: whoever sees the new segment drops every older copy of those rows.
"""

import logging
import sqlite3
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from zenso.errors import ZensoError
from zenso.memory import store
from zenso.memory.database import Database
from zenso.memory.matrix import registered_segments
from zenso.memory.segments import FOLDER_NAME, Segment, write_segment

# 16 MiB of codes: large enough that a million documents are 62 files, small enough to read back when one is damaged.
SEGMENT_ROWS = 16_384
# A shorter tail is read from SQLite at the next opening in a few milliseconds.
CLOSING_ROWS = 1_024

_log = logging.getLogger(__name__)


def tidy(database: Database, damaged: Collection[Segment], *, closing: bool) -> None:
    """Bring the segment files up to date if it is worth it; a failure is logged, because the documents are safe.

    While the memory is in use only a full segment's worth of new rows, or damage, is a reason; on ``closing`` also a
    shorter tail and segments of which more than half is dead.
    """
    try:
        with database.read() as connection:
            due = bool(_ranges(connection, damaged, closing=closing))
        if not due:
            return
        with database.write() as connection:
            for first, last in _ranges(connection, damaged, closing=closing):
                _rewrite(connection, database.folder / FOLDER_NAME, first, last)
        with database.write() as connection:
            _sweep(connection, database.folder / FOLDER_NAME)
    except ZensoError as error:
        _log.warning("the code cache was not brought up to date: %s", error)


def _ranges(connection: sqlite3.Connection, damaged: Collection[Segment], *, closing: bool) -> list[tuple[int, int]]:
    """Return the ranges of rows, both ends included, whose segments are to be written."""
    segments = registered_segments(connection)
    newest = _newest(connection)
    covered = segments[-1].last_seq if segments else 0
    seal = newest - covered >= (CLOSING_ROWS if closing else SEGMENT_ROWS)
    ranges = [(covered + 1, newest)] if seal else []
    if seal and segments and segments[-1].rows < SEGMENT_ROWS:
        ranges = [(segments.pop().first_seq, newest)]
    ranges += [
        (segment.first_seq, segment.last_seq)
        for segment in segments
        if segment in damaged or ((seal or closing) and 2 * _dead(connection, segment) > segment.rows)
    ]
    return ranges


def _rewrite(connection: sqlite3.Connection, folder: Path, first: int, last: int) -> None:
    """Write the segments for rows ``first`` to ``last`` from the documents alive, and forget the dead among them."""
    connection.execute("DELETE FROM segments WHERE first_seq BETWEEN ? AND ?", (first, last))
    while first <= last:
        seqs, codes = store.codes(connection, first, last, SEGMENT_ROWS)
        end = last if len(seqs) < SEGMENT_ROWS else int(seqs[-1])
        segment = write_segment(folder, first, end, seqs, codes)
        connection.execute(
            "INSERT INTO segments (first_seq, last_seq, rows, checksum) VALUES (?, ?, ?, ?)",
            (segment.first_seq, segment.last_seq, segment.rows, segment.checksum),
        )
        connection.execute("DELETE FROM removed WHERE seq BETWEEN ? AND ?", (first, end))
        first = end + 1


def _sweep(connection: sqlite3.Connection, folder: Path) -> None:
    """Delete the files that no segment names, and what interrupted writers left; under the write lock nobody writes."""
    current = {segment.file_name for segment in registered_segments(connection)}
    for path in folder.iterdir():
        if path.name not in current:
            with suppress(OSError):
                path.unlink()


def _newest(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
    return int(row[0]) if row else 0


def _dead(connection: sqlite3.Connection, segment: Segment) -> int:
    query = "SELECT count(*) FROM removed WHERE seq BETWEEN ? AND ?"
    dead: int = connection.execute(query, (segment.first_seq, segment.last_seq)).fetchone()[0]
    return dead
