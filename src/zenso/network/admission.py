"""What a node lets in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from zenso.network.reasons import Reason
from zenso.network.records import Record
from zenso.network.store import RecordStore
from zenso.zen import ZenEncoder


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an offered record."""

    reason: Reason
    text: str  # for people: what was wrong and what to do
    record: Record | None = None  # None where the bytes were no record

    @property
    def accepted(self) -> bool:
        """Whether it is in the store now, and is to be forwarded."""
        return self.reason is Reason.ACCEPTED


class Admission:
    """Checks offered records, cheapest check first, and puts those that pass into the store. Threads may share it.

    Parameters
    ----------
    store : RecordStore
    encoder : ZenEncoder, or a function without arguments that loads one
    domains : iterable of str
        Those that the node follows.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        store: RecordStore,
        encoder: "ZenEncoder | Callable[[], ZenEncoder]",
        domains: Iterable[str],
        *,
        clock: Callable[[], float],
    ) -> None: ...

    def offer(self, data: bytes, sender: str, *, synced: bool = False) -> Verdict:
        """Check one record and store it if it passes.

        Parameters
        ----------
        data : bytes
        sender : str
            The peer that handed it over, as the transport knows it.
        synced : bool
            It came by reconciliation: it may be old, and near to another (both sides of a partition may have taken one).
        """

    def required_bits(self, creator: bytes) -> int:
        """Return the zero bits of work that a key owes here now."""

    def wanted(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return those of the digests that reconciliation found missing that are worth fetching: not refused before."""

    def is_cut_off(self, sender: str) -> bool:
        """Whether nothing is to be taken from a peer any more."""


class Inbox:
    """A bounded queue of offers, the most reputable sender first; full, it sheds the least reputable.

    Parameters
    ----------
    admission : Admission
    capacity : int
    """

    def __init__(self, admission: Admission, capacity: int = 1000) -> None: ...

    def put(self, data: bytes, sender: str) -> "Verdict | None":
        """Queue an offer; a verdict (``OVERLOADED``) if it was shed at once. May push out another's."""

    def take(self) -> "tuple[bytes, str] | None":
        """Take the next offer, or None."""
