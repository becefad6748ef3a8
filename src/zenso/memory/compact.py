"""Give back the space of what was deleted: in the segment files, and in the database."""

from dataclasses import dataclass
from pathlib import Path

from zenso.memory import store, upkeep
from zenso.memory.database import FILE_NAME, Database
from zenso.memory.matrix import registered_segments
from zenso.memory.segments import FOLDER_NAME


@dataclass(frozen=True, slots=True)
class CompactReport:
    """Bytes that database, log and segments of a memory took before and after."""

    bytes_before: int
    bytes_after: int


def compact(database: Database) -> CompactReport:
    """Write segments anew that hold deleted rows or are small, then the database without its free space.

    Needs as much free disk as the memory takes. Readers go on meanwhile, writers wait; a crash leaves all as it was.
    """
    before = _bytes(database.folder)
    with database.write() as connection:
        segments = registered_segments(connection)
        dead = connection.execute("SELECT EXISTS (SELECT 1 FROM removed)").fetchone()[0]
        if dead or any(segment.rows < upkeep.SEGMENT_ROWS for segment in segments[:-1]):
            store.begin_change(connection)
            store.begin_epoch(connection)
        connection.execute(
            """DELETE FROM provenance WHERE id NOT IN
            (SELECT provenance FROM documents UNION SELECT provenance FROM next_embeddings)"""
        )
        connection.execute("DELETE FROM frequencies WHERE documents = 0")
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")
    upkeep.tidy(database, (), closing=True)
    database.vacuum()
    return CompactReport(before, _bytes(database.folder))


def _bytes(folder: Path) -> int:
    files = [folder / FILE_NAME, folder / f"{FILE_NAME}-wal", *(folder / FOLDER_NAME).glob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())
