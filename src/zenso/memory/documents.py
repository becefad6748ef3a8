"""What goes into a memory and what comes out: documents, hits, their ids, and the checks on what a caller gives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from zenso.errors import InputError
from zenso.memory.metadata import Metadata, check_metadata, storable

if TYPE_CHECKING:
    from zenso.memory.stages import Explanation

MAX_ID_CHARACTERS = 512

# Domain tags keep ids of one kind from ever equalling ids of another.
_TEXT_TAG = b"zenso/document/1\x00"
_SOURCE_TAG = b"zenso/source-document/1\x00"


@dataclass(frozen=True, slots=True)
class Document:
    """A stored text. ``source`` is the path it was indexed from, or None if it was added directly."""

    id: str
    text: str
    metadata: Metadata
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    ``score`` is what results are ordered by: in hybrid search the points of both rankings, as a share of those of a
    document that is first in both, 0 to 1; otherwise the similarity. ``similarity`` is that of its embedding to the
    query, about -1 to 1.
    """

    id: str
    score: float
    text: str
    metadata: Metadata
    similarity: float


class Hits(list[Hit]):
    """Search results, best first; ``explanation`` says how they were found, if that was asked for."""

    explanation: "Explanation | None" = None


@dataclass(frozen=True, slots=True)
class SourceUpdate:
    """The texts that a source shall have from now on, in order; ``metadata`` as for ``Memory.add``."""

    path: str
    fingerprint: str
    texts: Sequence[str]
    metadata: Mapping[str, object] | Sequence[Mapping[str, object] | None] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents in insertion order; ``next`` is where the following page begins, None after the last."""

    documents: list[Document]
    next: int | None


class UnknownIdError(InputError, KeyError):
    """``memory[id]`` was asked for an id that the memory does not hold."""

    __str__ = Exception.__str__  # KeyError would show the repr of the message


def text_id(text: str) -> str:
    """Id of a text that was given none: 32 hex digits, the same for the same text everywhere."""
    return blake3(_TEXT_TAG + text.encode()).hexdigest(length=16)


def source_text_id(path: bytes, ordinal: int, text: str) -> str:
    """Id of the text at place ``ordinal`` of a source, so that two files with one text give two documents."""
    parts = (_SOURCE_TAG, len(path).to_bytes(4, "little"), path, ordinal.to_bytes(4, "little"), text.encode())
    return blake3(b"".join(parts)).hexdigest(length=16)


def source_bytes(path: str) -> bytes:
    """Return a source's path as the file system's bytes, so that names that are not UTF-8 stay distinct."""
    if not isinstance(path, str) or not path:
        raise InputError(f"the path of a source is {path!r}; give a non-empty str")
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(f"the path of a source is {path!r}, which no file can have; use os.fsdecode") from error


def source_path(stored: bytes) -> str:
    """Read what ``source_bytes`` wrote."""
    return stored.decode("utf-8", "surrogateescape")


def check_id(value: object, what: str = "the id") -> str:
    """Return an id that can be stored, or raise InputError; ``what`` names it in the message."""
    if not isinstance(value, str):
        raise InputError(f"{what} is {value!r}, of type {type(value).__name__}; give a str")
    if not value:
        raise InputError(f"{what} is the empty string; give at least one character")
    if len(value) > MAX_ID_CHARACTERS:
        raise InputError(f"{what} has {len(value)} characters ({value[:20]!r}...); give at most {MAX_ID_CHARACTERS}")
    if storable(value) != value:
        raise InputError(f"{what} is {value!r}, which has lone surrogates; give text that UTF-8 can hold")
    return str.__str__(value)


def check_ids(ids: str | Iterable[object]) -> list[str]:
    """Return the ids as a list, each checked; one str is one id."""
    if isinstance(ids, str):
        return [check_id(ids)]
    if isinstance(ids, bytes) or not isinstance(ids, Iterable):
        raise InputError(f"ids is of type {type(ids).__name__}; give a str or a sequence of str")
    return [check_id(value, f"ids[{index}]") for index, value in enumerate(ids)]


def check_text(value: object, what: str) -> str:
    """Return a text as it will be stored (lone surrogates become U+FFFD), or raise InputError."""
    if not isinstance(value, str):
        hint = "; decode it first" if isinstance(value, bytes | bytearray) else ""
        raise InputError(f"{what} is of type {type(value).__name__}; give a str{hint}")
    if not value.strip():
        state = "only white space" if value else "empty"
        raise InputError(f"{what} is {state}; leave it out, or give text that can be searched for")
    return storable(str.__str__(value))


def check_texts(texts: str | Sequence[str]) -> list[str]:
    """Return the texts as a list, each checked; one str is one text."""
    if isinstance(texts, str):
        return [check_text(texts, "the text")]
    if isinstance(texts, bytes | bytearray | Mapping) or not isinstance(texts, Iterable):
        raise InputError(f"texts is of type {type(texts).__name__}; give a str or a sequence of str")
    return [check_text(value, f"texts[{index}]") for index, value in enumerate(texts)]


def check_metadata_list(
    metadata: Mapping[str, object] | Sequence[Mapping[str, object] | None] | None, count: int
) -> list[Metadata]:
    """Return ``count`` checked mappings; None means none for all, and one mapping counts for every text."""
    if metadata is None or isinstance(metadata, Mapping):
        shared = check_metadata(metadata, "the texts")
        return [shared] * count
    if isinstance(metadata, str | bytes) or not isinstance(metadata, Iterable):
        raise InputError(f"metadata is of type {type(metadata).__name__}; give a dict, or a sequence of one a text")
    listed = list(metadata)
    if len(listed) != count:
        raise InputError(f"metadata has {len(listed)} entries for {count} texts; give one a text")
    return [check_metadata(value, f"texts[{index}]") for index, value in enumerate(listed)]


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked document on its way into the store; ``source`` as the file system's bytes."""

    id: str
    text: str
    metadata: Metadata
    source: bytes | None = None


def entries(
    texts: str | Sequence[str],
    ids: str | Sequence[str] | None,
    metadata: Mapping[str, object] | Sequence[Mapping[str, object] | None] | None,
) -> list[Entry]:
    """Check everything given to ``Memory.add`` before anything is stored.

    Raises
    ------
    InputError
        Naming the first value that cannot be stored, its index, and what to give instead.
    """
    checked = check_texts(texts)
    listed = [text_id(text) for text in checked] if ids is None else check_ids(ids)
    if len(listed) != len(checked):
        raise InputError(f"{len(listed)} ids for {len(checked)} texts; give one a text")
    described = check_metadata_list(metadata, len(checked))
    return [Entry(*parts) for parts in zip(listed, checked, described, strict=True)]


def source_entries(
    path: bytes,
    texts: Sequence[str],
    metadata: Mapping[str, object] | Sequence[Mapping[str, object] | None] | None,
) -> list[Entry]:
    """Check everything given to ``Memory.replace_source``, in the order of the source."""
    checked = check_texts(texts)
    described = check_metadata_list(metadata, len(checked))
    return [
        Entry(source_text_id(path, ordinal, text), text, fields, path)
        for ordinal, (text, fields) in enumerate(zip(checked, described, strict=True))
    ]
