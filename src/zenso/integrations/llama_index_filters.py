"""LlamaIndex's ``MetadataFilters`` as the ``where`` of a memory."""

from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from zenso.errors import InputError

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.ANY: "$in",  # a condition on a list holds if it holds for any member
    FilterOperator.CONTAINS: "$eq",
    FilterOperator.TEXT_MATCH: "$contains",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "$icontains",
}


def to_where(filters: MetadataFilters) -> dict[str, Any]:
    """Return the ``where`` that means the same.

    ``NOT`` holds if none of its filters holds; no filters at all hold for every document.

    Raises
    ------
    InputError
        For an operator or a condition that is not known here, or a value that does not fit its operator.
    """
    parts = [to_where(one) if isinstance(one, MetadataFilters) else _to_field(one) for one in filters.filters]
    if not parts:
        return {}
    condition = filters.condition or FilterCondition.AND
    if condition is FilterCondition.AND:
        return {"$and": parts}
    if condition is FilterCondition.OR:
        return {"$or": parts}
    if condition is FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    raise InputError(f"unknown filter condition {condition!r}; use and, or, not")


def _to_field(one: MetadataFilter) -> dict[str, Any]:
    if one.key.startswith("$"):
        raise InputError(f"the key of a filter is {one.key!r}; no metadata has a key that begins with $")
    if one.operator is FilterOperator.IS_EMPTY:
        return {one.key: {"$empty": True}}
    if one.operator is FilterOperator.ALL:
        if not isinstance(one.value, list):
            raise InputError(f"the value of 'all' on {one.key!r} is {one.value!r}; give a list")
        return {"$and": [{one.key: {"$exists": True}}, *({one.key: {"$eq": value}} for value in one.value)]}
    if one.operator not in _OPERATORS:
        raise InputError(f"unknown filter operator {one.operator!r} on {one.key!r}; use {_names()}")
    return {one.key: {_OPERATORS[one.operator]: one.value}}


def _names() -> str:
    return ", ".join([*(operator.value for operator in _OPERATORS), "all", "is_empty"])
