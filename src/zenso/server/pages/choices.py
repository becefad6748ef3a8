"""What several pages ask for: a memory by name, and rows of a filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

from fastapi import Depends, Query

from zenso.memory import Memory
from zenso.server.api.routing import TheServices
from zenso.server.pages.filters import OPERATORS, Row, rows

_FIELDS_FROM = 50  # documents that are looked at for names of fields


@dataclass(frozen=True)
class Choice:
    """The memory that is looked at, if there is one, and its name."""

    name: str
    memory: Memory | None


def _choose(services: TheServices, memory: str | None = None) -> Choice:
    if memory is None and not services.memories:
        return Choice("", None)
    name = memory or next(iter(services.memories), "")
    return Choice(name, services.memory(name))


def _filter(
    field: Annotated[Sequence[str], Query()] = (),
    operator: Annotated[Sequence[str], Query()] = (),
    value: Annotated[Sequence[str], Query()] = (),
) -> list[Row]:
    return rows(field, operator, value)


TheChoice = Annotated[Choice, Depends(_choose)]
TheFilter = Annotated[list[Row], Depends(_filter)]


def form_values(choice: Choice, given: Sequence[Row]) -> dict[str, object]:
    """Return what the inputs for a memory and a filter show."""
    memory = choice.memory
    inputs = {"chosen": choice.name, "rows": list(given), "operators": OPERATORS, "fields": _fields(memory)}
    return inputs | {"held": 0 if memory is None else len(memory)}


def _fields(memory: Memory | None) -> list[str]:
    """Names of metadata fields that the first documents have."""
    found: dict[str, None] = {}
    for document in islice(memory or (), _FIELDS_FROM):
        found |= dict.fromkeys(document.metadata)
    return sorted(found)
