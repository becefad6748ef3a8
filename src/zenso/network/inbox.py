"""A bounded queue of offers: the most reputable sender first; when it is full, the least reputable is shed."""

from collections import OrderedDict, deque
from threading import Lock
from typing import NamedTuple

from zenso.errors import InputError
from zenso.network.admission import Admission


class Offer(NamedTuple):
    """Bytes that a peer handed over."""

    data: bytes
    sender: str


class Inbox:
    """Offers that wait for ``Admission.offer``. Threads may share it.

    Parameters
    ----------
    admission : Admission
        Knows the reputations.
    capacity : int
        Offers that may wait; a record has 32 KiB at most.

    Raises
    ------
    InputError
        The capacity is below 1.
    """

    def __init__(self, admission: Admission, capacity: int = 1000) -> None:
        if capacity < 1:
            raise InputError(f"an inbox for {capacity} offers; give at least 1")
        self._admission = admission
        self._capacity = capacity
        self._count = 0
        self._waiting: OrderedDict[str, deque[bytes]] = OrderedDict()  # the one served last comes last
        self._lock = Lock()

    def __len__(self) -> int:
        return self._count

    def put(self, data: bytes, sender: str) -> Offer | None:
        """Queue an offer. Return the one that was shed for it, if the inbox was full: it may be the same.

        Its sender is told ``Reason.OVERLOADED``.
        """
        with self._lock:
            self._waiting.setdefault(sender, deque()).append(data)
            self._count += 1
            if self._count <= self._capacity:
                return None
            # Of equal reputations the one with the most in the queue.
            loser = min(self._waiting, key=lambda one: (self._admission.peer_score(one), -len(self._waiting[one])))
            return Offer(self._remove(loser, newest=True), loser)

    def take(self) -> Offer | None:
        """Return the next offer, or None when there is none; peers of equal reputation take turns."""
        with self._lock:
            if not self._waiting:
                return None
            sender = max(self._waiting, key=self._admission.peer_score)  # the first of equals
            data = self._remove(sender, newest=False)
            if sender in self._waiting:
                self._waiting.move_to_end(sender)
            return Offer(data, sender)

    def _remove(self, sender: str, *, newest: bool) -> bytes:
        queue = self._waiting[sender]
        data = queue.pop() if newest else queue.popleft()
        if not queue:
            del self._waiting[sender]
        self._count -= 1
        return data
