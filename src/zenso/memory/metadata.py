"""Metadata of a document: what it may hold, and how its values stand in SQL so that filters compare them exactly.

The JSON text of a document's metadata is what is given back. For filters each value also stands, typed, in a row of
the table ``fields``: SQLite then compares native numbers and texts through an index, which reading them out of JSON
would not do exactly (its text-to-double conversion is not correctly rounded in every version) nor fast.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import TypeAlias

from zenso.errors import InputError

Scalar: TypeAlias = str | int | float | bool | None
MetadataValue: TypeAlias = Scalar | list[Scalar]
Metadata: TypeAlias = dict[str, MetadataValue]

SqlValue: TypeAlias = str | int | float | bytes

# What is neither number nor text stands as a one-byte blob, which equals no number and no text.
FALSE, TRUE, NULL, LIST = b"\x00", b"\x01", b"\x02", b"\x03"

_INT64 = range(-(2**63), 2**63)
_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD.

    The encoder reads the same replaced text, so a stored code can be recomputed from the stored text.
    """
    return text if text.isascii() else _SURROGATE.sub(REPLACEMENT, text)


def check_scalar(value: object, where: str) -> Scalar:
    """Return a plain copy of one value, with lone surrogates replaced; ``where`` names it in messages.

    Raises
    ------
    InputError
        For any other type, for NaN and infinities, and for integers that need more than 64 bits.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(str.__str__(value))
    if isinstance(value, int):
        if value not in _INT64:
            raise InputError(f"{where} is {value}, which does not fit in 64 bits; give it as a string")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where} is {value}, which JSON cannot hold; leave it out or give None")
        return float(value)
    raise InputError(
        f"{where} is of type {type(value).__name__}; "
        "give a str, int, float, bool, None, or a list of these (flatten nested mappings into keys)"
    )


def check_metadata(metadata: object, where: str) -> Metadata:
    """Return a plain copy of a document's metadata; ``where`` names the document in messages.

    Raises
    ------
    InputError
        If it is not a mapping of non-empty strings to scalars or flat lists of scalars. Keys that begin with ``$``
        are refused because filters read them as operators.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InputError(f"the metadata of {where} is of type {type(metadata).__name__}; give a dict")
    checked: Metadata = {}
    for key, value in metadata.items():
        name = check_field_name(key, f"a metadata key of {where}")
        label = f"metadata {name!r} of {where}"
        if isinstance(value, list | tuple):
            checked[name] = [check_scalar(member, f"a member of {label}") for member in value]
        else:
            checked[name] = check_scalar(value, label)
    return checked


def check_field_name(key: object, what: str) -> str:
    """Return a metadata key with lone surrogates replaced, or raise InputError saying what it is and why not."""
    if not isinstance(key, str):
        raise InputError(f"{what} is {key!r}, of type {type(key).__name__}; give a str")
    if not key:
        raise InputError(f"{what} is the empty string; name the field")
    if key.startswith("$"):
        raise InputError(f"{what} is {key!r}; names that begin with $ are filter operators, so choose another")
    return storable(str.__str__(key))


def to_json(metadata: Metadata) -> str:
    """Return the JSON text stored for a document; reading it back gives equal values of the same types."""
    return json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Metadata:
    """Read what ``to_json`` wrote."""
    metadata: Metadata = json.loads(text)
    return metadata


def sql_value(value: Scalar) -> SqlValue:
    """Return the form in which a scalar stands in ``fields.value``: bools and None as one-byte blobs."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return value


def field_rows(metadata: Metadata) -> list[tuple[str, SqlValue]]:
    """Return the (name, value) rows of ``fields`` for one document.

    A list gives a row for each member and one row ``LIST``, so that an empty list still counts as present.
    """
    rows: list[tuple[str, SqlValue]] = []
    for name, value in metadata.items():
        if isinstance(value, list):
            rows.append((name, LIST))
            rows += [(name, sql_value(member)) for member in value]
        else:
            rows.append((name, sql_value(value)))
    return rows
