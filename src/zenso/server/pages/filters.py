"""Rows of a form (field, operator, value) into a ``where`` filter."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

OPERATORS = {
    "$eq": "is",
    "$ne": "is not",
    "$gte": "at least",
    "$lte": "at most",
    "$gt": "more than",
    "$lt": "less than",
    "$icontains": "contains",
    "$in": "is one of",
    "$exists": "is there",
    "$empty": "is empty",
}
_WITHOUT_VALUE = ("$exists", "$empty")


@dataclass(frozen=True)
class Row:
    """What one row of the form holds."""

    field: str
    operator: str
    value: str


def rows(fields: Sequence[str], operators: Sequence[str], values: Sequence[str]) -> list[Row]:
    """Put together what the form sends; rows without a field are left out.

    An address that somebody wrote may leave out operators, which are ``$eq`` then, and values at the end.
    """
    return [
        Row(field.strip(), operator or "$eq", value)
        for field, operator, value in zip_longest(fields, operators, values, fillvalue="")
        if field.strip()
    ]


def as_where(given: Sequence[Row]) -> dict[str, object] | None:
    """Return the filter that all rows together are, or None without any."""
    if not given:
        return None
    return {"$and": [{row.field: {row.operator: _operand(row)}} for row in given]}


def _operand(row: Row) -> object:
    if row.operator in _WITHOUT_VALUE:
        return True
    if row.operator == "$in":
        return [_scalar(part.strip()) for part in row.value.split(",") if part.strip()]
    return row.value if row.operator == "$icontains" else _scalar(row.value)


def _scalar(text: str) -> object:
    """Read a number, true, false, null or a text in quotes; everything else is a text as it stands."""
    try:
        value: object = json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, (dict, list)) else value
