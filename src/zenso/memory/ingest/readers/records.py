"""Files of records, JSON lines and delimited tables: one section a record."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from zenso.memory.ingest.encoding import decode, without_surrogates
from zenso.memory.ingest.sections import Metadata, ReadWarning, Section

TEXT_FIELDS = ("text", "content", "body", "contents")
"""Names under which a record's text is looked for, first found first; capitals do not matter."""
ID_FIELDS = ("_id", "id")
TITLE_FIELD = "title"

MAX_METADATA_CHARS = 1_000
"""A longer string is a text of its own and not metadata: it would be kept with each chunk of the record."""

_SNIFFED_CHARS = 8_192
_DELIMITERS = ",;\t|"
_INT64 = 1 << 63


def read_json_lines(path: Path, data: bytes) -> Iterator[Section | ReadWarning]:
    """Read one section a line; each bad line gives a warning that names it, and the rest goes on.

    A line is an object with a text field (and a title), or a plain string. The other scalar fields become metadata,
    ``_id`` or ``id`` under the name ``id``; ``line`` counts from 1.

    Raises
    ------
    UndecodableError
        The bytes are not text.
    """
    text, warning = decode(data)
    if warning is not None:
        yield ReadWarning(path, warning)
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield ReadWarning(path, f"line {number} is not JSON ({error}) and was left out")
            continue
        if isinstance(record, str):
            record = {"text": record}
        section = _section(record, {"line": number}) if isinstance(record, dict) else None
        if section is None:
            wanted = ", ".join((*TEXT_FIELDS, TITLE_FIELD))
            yield ReadWarning(path, f"line {number} has no text in any of the fields {wanted} and was left out")
        else:
            yield section


def read_delimited(path: Path, data: bytes) -> Iterator[Section | ReadWarning]:
    """Read one section a row of a table whose first row names the columns.

    The text is that of the text column (and the title); in a table without one, each column becomes a line
    ``column: value``. The values are metadata as they are written, so that ``007`` stays ``007``; ``line`` is the line
    on which the row ends. A field longer than `csv.field_size_limit` (131,072 characters unless set otherwise) gives
    a warning, and the rest goes on.

    Raises
    ------
    UndecodableError
        The bytes are not text.
    """
    text, warning = decode(data)
    if warning is not None:
        yield ReadWarning(path, warning)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(path, text))
    columns: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield ReadWarning(path, f"the row that ends on line {rows.line_num} is not CSV ({error}) and was left out")
            continue
        if not any(value.strip() for value in row):
            continue
        if columns is None:
            columns = [name.strip() or f"column {index}" for index, name in enumerate(row, start=1)]
            continue
        # An unquoted delimiter in the last column is a common slip; nothing of the row gets lost this way.
        surplus = row[len(columns) - 1 :]
        if len(row) > len(columns):
            row = [*row[: len(columns) - 1], rows.dialect.delimiter.join(surplus)]
        record = {name: value for name, value in zip(columns, row, strict=False) if value.strip()}
        section = _section(record, {"line": rows.line_num}) or Section(
            "\n".join(f"{name}: {value}" for name, value in record.items()),
            {"line": rows.line_num, **_scalars(record)},
        )
        yield section


def _delimiter(path: Path, text: str) -> str:
    header = next((line for line in text.split("\n", 64) if line.strip()), "")
    try:
        found = csv.Sniffer().sniff(text[:_SNIFFED_CHARS], delimiters=_DELIMITERS).delimiter
    except csv.Error:
        found = ""
    # The sniffer also finds commas within the prose of a table of one column.
    if found and found in header:
        return found
    return "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=header.count)


def _section(record: Mapping[str, object], place: Metadata) -> Section | None:
    """Section of a record, or None when it has no text."""
    by_name = {name.lower(): name for name in reversed(list(record))}
    names = [by_name[field] for field in TEXT_FIELDS if field in by_name]
    texts = ((name, value) for name in names if isinstance(value := record[name], str) and value.strip())
    text_name, text = next(texts, ("", ""))
    title = record.get(by_name.get(TITLE_FIELD, TITLE_FIELD))
    if isinstance(title, str) and title.strip():
        # A blank and not a line break: a title on a line of its own would become a chunk of its own.
        text = f"{title.strip()} {text}"
    if not text.strip():
        return None
    fields = {name: value for name, value in record.items() if name != text_name}
    return Section(without_surrogates(text), {**place, **_scalars(fields)})


def _scalars(fields: Mapping[str, object]) -> Metadata:
    """Return the fields that a filter can compare: neither ``null``, lists and objects, nor NaN and infinities."""
    metadata: Metadata = {}
    for name, value in fields.items():
        key = "id" if name in ID_FIELDS else without_surrogates(name)
        if isinstance(value, str):
            if len(value) <= MAX_METADATA_CHARS:
                metadata[key] = without_surrogates(value)
        elif isinstance(value, bool):
            metadata[key] = value
        elif isinstance(value, int):
            # SQLite compares integers of 64 bits; longer ones are names rather than numbers.
            metadata[key] = value if -_INT64 <= value < _INT64 else str(value)
        elif isinstance(value, float) and math.isfinite(value):
            metadata[key] = value
    return metadata
