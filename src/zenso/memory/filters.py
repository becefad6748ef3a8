"""``where`` filters: from a mapping like ``{"year": {"$gte": 2020}}`` to an SQL condition with bound parameters.

A condition on a field holds if the field's value satisfies it, or any member when the value is a list. Numbers
compare with numbers, texts with texts by code point; ``True`` is not 1. ``$ne`` and ``$nin`` are the negations of
``$eq`` and ``$in``, so they also hold for documents without the field. ``$contains`` finds a part of a text,
``$icontains`` whatever its case; ``$empty`` holds for a field that is missing or has nothing but None and ``""``.
``{"$ids": [...]}`` stands beside fields and leaves the documents of these ids. No name or value ever becomes part of
the SQL.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from zenso.errors import InputError
from zenso.memory.documents import check_ids
from zenso.memory.metadata import SqlValue, check_field_name, check_scalar, sql_value, storable

# SQLite takes 32,766 parameters, expressions 1,000 operators deep, and has a parser stack of 100 entries, of which a
# level of nesting uses at most 6; these limits stay well below.
MAX_CONDITIONS = 250
MAX_DEPTH = 12
MAX_VALUES = 30_000

_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
# The first and the end of each kind of value in SQLite's order of numbers, texts and blobs.
_NUMBERS = ("-9e999", "''")
_TEXTS = ("''", "x''")
_NEGATIONS = {"$ne": "$eq", "$nin": "$in"}
_PARTS = {
    "$contains": "typeof(value) = 'text' AND instr(value, ?)",
    "$icontains": "typeof(value) = 'text' AND instr(zenso_casefold(value), ?)",
}
# Which of a field's values make it present. $empty is the negation: not one but NULL, LIST (see metadata.py) and "".
_PRESENCE = {"$exists": "1", "$empty": "value NOT IN (x'02', x'03', '')"}
_OPERATORS = (
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$contains", "$icontains", "$exists", "$empty"),
    "$not",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression over ``documents.seq`` and the values of its placeholders, in order."""

    sql: str
    parameters: tuple[SqlValue, ...]


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection what conditions call: SQLite's own ``lower`` knows the letters of ASCII only."""
    connection.create_function("zenso_casefold", 1, _casefold, deterministic=True)


def _casefold(value: SqlValue) -> SqlValue:
    return value.casefold() if isinstance(value, str) else value


def compile_where(where: Mapping[str, object]) -> Condition:
    """Compile a filter; an empty mapping holds for every document.

    Raises
    ------
    InputError
        For an unknown operator, a value that cannot be compared, or a filter beyond the limits above.
    """
    compiler = _Compiler()
    sql = compiler.every(where, "where")
    if len(compiler.parameters) > MAX_VALUES:
        raise InputError(f"the filter holds {len(compiler.parameters)} values; give at most {MAX_VALUES}")
    return Condition(sql, tuple(compiler.parameters))


@dataclass(slots=True)
class _Compiler:
    """Collects parameters in the order of their placeholders while the expression is built."""

    parameters: list[SqlValue] = field(default_factory=list)
    conditions: int = 0
    depth: int = 0

    def every(self, where: object, what: str) -> str:
        """Compile a mapping: all of its entries must hold."""
        if not isinstance(where, Mapping):
            raise InputError(
                f"{what} is {where!r}, of type {type(where).__name__}; give a dict such as {{'lang': 'en'}}"
            )
        with self._nested():
            return self._join("AND", [self._entry(key, value) for key, value in where.items()]) if where else "1"

    def _entry(self, key: object, value: object) -> str:
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise InputError(f"the filter holds more than {MAX_CONDITIONS} conditions; use $in for many values")
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise InputError(f"{key} is {value!r}; give a non-empty list of filters")
            parts = [self.every(part, f"{key}[{index}]") for index, part in enumerate(value)]
            return self._join("AND" if key == "$and" else "OR", parts)
        if key == "$not":
            return f"(NOT {self.every(value, '$not')})"
        if key == "$ids":
            ids = check_ids(self._listed(value, "$ids"))
            self.parameters += ids
            return f"documents.id IN ({','.join('?' * len(ids))})"
        if isinstance(key, str) and key.startswith("$"):
            raise InputError(
                f"unknown operator {key!r} where a field is expected; use $and, $or, $not, $ids, or a field's name"
            )
        return self._field(check_field_name(key, "a field of the filter"), value)

    def _field(self, name: str, value: object) -> str:
        if not isinstance(value, Mapping):
            return self._operator(name, "$eq", value)
        if not value:
            raise InputError(f"the condition on {name!r} is empty; give a value or an operator such as {{'$gte': 1}}")
        return self._join("AND", [self._operator(name, operator, operand) for operator, operand in value.items()])

    def _operator(self, name: str, operator: object, operand: object) -> str:
        if operator in _NEGATIONS:
            return f"(NOT {self._operator(name, _NEGATIONS[str(operator)], operand)})"
        if operator in ("$eq", "$in"):
            return self._equality(name, str(operator), operand)
        if operator in _COMPARISONS:
            return self._comparison(name, str(operator), operand)
        if operator in _PARTS:
            return self._part(name, str(operator), operand)
        if operator in _PRESENCE:
            return self._presence(name, str(operator), operand)
        if operator == "$not":
            with self._nested():
                return f"(NOT {self._field(name, operand)})"
        raise InputError(f"unknown operator {operator!r} on {name!r}; the operators are {', '.join(_OPERATORS)}")

    def _equality(self, name: str, operator: str, operand: object) -> str:
        what = f"{operator} on {name!r}"
        if operator == "$eq":
            return self._any(name, "value = ?", self._scalar(operand, what))
        values = [self._scalar(member, f"a member of {what}") for member in self._listed(operand, what)]
        return self._any(name, f"value IN ({','.join('?' * len(values))})", *values)

    def _part(self, name: str, operator: str, operand: object) -> str:
        if not isinstance(operand, str):
            raise InputError(f"{operator} on {name!r} is {operand!r}; give a str")
        part = storable(operand)
        return self._any(name, _PARTS[operator], part.casefold() if operator == "$icontains" else part)

    def _presence(self, name: str, operator: str, operand: object) -> str:
        if not isinstance(operand, bool):
            raise InputError(f"{operator} on {name!r} is {operand!r}; give True or False")
        present = operand if operator == "$exists" else not operand
        return f"({'' if present else 'NOT '}{self._any(name, _PRESENCE[operator])})"

    def _comparison(self, name: str, operator: str, operand: object) -> str:
        """Compare within numbers or within texts only, as a range that the index can find."""
        value = self._scalar(operand, f"{operator} on {name!r}")
        sign = _COMPARISONS[operator]
        if isinstance(value, bytes):
            raise InputError(f"{operator} on {name!r} is {operand!r}; only numbers and texts have an order")
        first, end = _TEXTS if isinstance(value, str) else _NUMBERS
        bound = f"value < {end}" if ">" in sign else f"value >= {first}"
        return self._any(name, f"value {sign} ? AND {bound}", value)

    @contextmanager
    def _nested(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InputError(f"the filter is nested more than {MAX_DEPTH} deep; write it flatter")
        yield
        self.depth -= 1

    def _any(self, name: str, test: str, *values: SqlValue) -> str:
        self.parameters += [name, *values]
        return f"documents.seq IN (SELECT seq FROM fields WHERE name = ? AND {test})"  # noqa: S608 - our constants

    @staticmethod
    def _listed(operand: object, what: str) -> Collection[object]:
        if not isinstance(operand, list | tuple | set | frozenset):
            raise InputError(f"{what} is {operand!r}; give a list of values")
        return operand

    @staticmethod
    def _scalar(value: object, what: str) -> SqlValue:
        if isinstance(value, list | tuple | set | frozenset | Mapping):
            raise InputError(f"{what} is {value!r}; give one value, or $in with a list")
        return sql_value(check_scalar(value, what))

    @staticmethod
    def _join(word: str, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else f"({f' {word} '.join(parts)})"
