"""The records a node holds, in one SQLite file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from zenso.network.records import Record


class RecordStore:
    """Records on disk and the state they make, reputations and counts; safe from several threads.

    Parameters
    ----------
    path : Path
        An SQLite file; made when missing, with its folder.
    """

    def __init__(self, path: Path) -> None: ...

    def close(self) -> None:
        """Close the file."""

    def __contains__(self, record_id: bytes) -> bool: ...

    def get(self, record_id: bytes) -> Record | None:
        """Return a record by its id (36 bytes)."""

    def raw(self, record_ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bytes of records by id, to be sent to peers; those that are not held are left out."""

    def ids(self, domain: str) -> list[bytes]:
        """Return the digests (32 bytes, what ``Reconciler`` takes) of the domain's records, those proven wrong not."""

    def domains(self) -> dict[str, int]:
        """Return the number of records by domain."""

    def digest(self, domain: str) -> bytes:
        """Return 32 bytes that are equal on nodes that hold the same records of a domain."""

    def lessons(self, domain: str) -> list[bytes]:
        """Return the ids of the lessons that stand: not deleted, replaced or proven wrong."""
