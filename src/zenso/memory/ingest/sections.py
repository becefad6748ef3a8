"""What reading a file gives: sections of text, and the problems met on the way.

Problems are values and not exceptions, because one bad file among thousands must not end a run.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["prose", "markdown", "code"]
MetadataValue = str | int | float | bool
Metadata = dict[str, MetadataValue]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of text that belongs together: a file, a page of a PDF, a row of a table.

    ``kind`` says where the text may be cut: at sentences, at Markdown structure, or at lines of code.
    ``metadata`` holds what the file says about the text (``title``, ``page``, ``line``, ``language``, its own fields).
    Neither holds lone surrogates, so both can be encoded as UTF-8.
    """

    text: str
    metadata: Metadata = field(default_factory=dict)
    kind: Kind = "prose"


@dataclass(frozen=True, slots=True)
class ReadWarning:
    """A part of a file was left out or changed; ``message`` names the part and says what happened to it."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing of ``path`` was read; ``reason`` says why, and what would help."""

    path: Path
    reason: str
