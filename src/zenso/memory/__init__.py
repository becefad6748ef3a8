"""Documents, codes and metadata on disk; search; deletes.

``Memory`` is the one object to use: SQLite is the truth, and the code matrix it is searched with is a cache of
checked, memory-mapped segment files that can be rebuilt from it at any time.
"""

from zenso.memory.check import CheckReport, Finding, check_memory
from zenso.memory.compact import CompactReport
from zenso.memory.documents import Document, Hit, Hits, Page, SourceUpdate, UnknownIdError
from zenso.memory.exchange import ImportReport
from zenso.memory.info import MemoryInfo
from zenso.memory.memory import Memory
from zenso.memory.metadata import Metadata, MetadataValue
from zenso.memory.restore import restore
from zenso.memory.snapshots import Snapshot, list_snapshots
from zenso.memory.stages import Candidate, Explanation, SearchSettings, Stage
from zenso.memory.store import Source

__all__ = [
    "Candidate",
    "CheckReport",
    "CompactReport",
    "Document",
    "Explanation",
    "Finding",
    "Hit",
    "Hits",
    "ImportReport",
    "Memory",
    "MemoryInfo",
    "Metadata",
    "MetadataValue",
    "Page",
    "SearchSettings",
    "Snapshot",
    "Source",
    "SourceUpdate",
    "Stage",
    "UnknownIdError",
    "check_memory",
    "list_snapshots",
    "restore",
]
