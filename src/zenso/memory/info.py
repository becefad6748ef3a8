"""What there is to tell of a memory as a whole."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


def bytes_on_disk(folder: Path) -> int:
    """Add up the files of a folder; those that another process deletes meanwhile count for nothing."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total
