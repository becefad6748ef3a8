"""What a fetch tells its caller while it runs. The library itself prints nothing."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes of `what` that have arrived so far; `total` is None while the sender has not told it."""

    what: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person would want to know, such as that a damaged file is being replaced."""

    text: str


OnProgress = Callable[[Transfer | Note], None]


def silent(_event: Transfer | Note) -> None:
    """Ignore every event: what happens when the caller asks for none."""
