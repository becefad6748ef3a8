"""What a node remembers of each peer: what came from it, what was wrong with it, and whether it is cut off."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_KEPT = 4096  # peers that are remembered; of those that never did wrong, the longest unseen are forgotten first
_FORGIVEN_PER_SECOND = 1 / 60  # of the weight of faults

# What each fault weighs; at BAN_WEIGHT a peer is cut off. Faults that honest peers commit by accident weigh little.
LEFT = "left"  # within an exchange: no fault, as connections break
HARMLESS = frozenset({LEFT, "overload"})
_WEIGHTS = {**dict.fromkeys(HARMLESS, 0.0), "stalled": 3.0}
_OTHER_WEIGHT = 4.0
BAN_WEIGHT = 10.0


class PeerFault(Exception):  # noqa: N818 - of the peer, not of this program
    """A peer did what the protocol does not allow.

    Parameters
    ----------
    reason : str
        A code that is counted and that the peer may be told.
    detail : str
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass
class Peer:
    """One peer."""

    seen: float
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    weight: float = 0.0  # of its faults
    banned_until: float = 0.0
    tokens: float = 0.0
    filled: float = 0.0


class PeerBook:
    """All peers, as many as fit.

    Parameters
    ----------
    per_second : float
        Messages that one peer may send a second, as long as it takes.
    burst : int
        Messages that one peer may send at once.
    ban_seconds : float
        For which a peer is cut off.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self, per_second: float, burst: int, ban_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._ban_seconds = ban_seconds
        self._clock = clock
        self._peers: OrderedDict[str, Peer] = OrderedDict()
        self.refused: Counter[str] = Counter()  # of all peers, by reason

    def __getitem__(self, peer: str) -> Peer:
        now = self._clock()
        found = self._peers.get(peer)
        if found is None:
            if len(self._peers) >= _KEPT:
                self._forget(now)
            found = self._peers[peer] = Peer(now, tokens=self._burst, filled=now)
        self._peers.move_to_end(peer)
        found.weight = max(0.0, found.weight - (now - found.seen) * _FORGIVEN_PER_SECOND)
        found.seen = now
        return found

    def __len__(self) -> int:
        return len(self._peers)

    def take(self, peer: str) -> bool:
        """Count one message of a peer; False if it has sent too many."""
        found, now = self[peer], self._clock()
        found.tokens = min(self._burst, found.tokens + (now - found.filled) * self._per_second)
        found.filled = now
        if found.tokens < 1:
            return False
        found.tokens -= 1
        return True

    def accept(self, peer: str) -> None:
        """Count a record that was taken from a peer."""
        self[peer].accepted += 1

    def fault(self, peer: str, reason: str, weight: float | None = None) -> bool:
        """Count what a peer did wrong; True if it is cut off for it.

        Parameters
        ----------
        peer, reason : str
        weight : float, optional
            How much it counts against the peer; by default as much as faults of that reason do.
        """
        found = self[peer]
        found.refused[reason] += 1
        self.refused[reason] += 1
        found.weight += _WEIGHTS.get(reason, _OTHER_WEIGHT) if weight is None else weight
        if found.weight < BAN_WEIGHT or found.banned_until > self._clock():
            return False
        found.weight = 0.0
        found.banned_until = self._clock() + self._ban_seconds
        return True

    def is_banned(self, peer: str) -> bool:
        """Whether a peer is cut off now."""
        found = self._peers.get(peer)
        return found is not None and found.banned_until > self._clock()

    def items(self) -> list[tuple[str, Peer]]:
        """Return the peers and what is known of them."""
        return list(self._peers.items())

    def _forget(self, now: float) -> None:
        harmless = next((name for name, peer in self._peers.items() if peer.banned_until <= now), None)
        del self._peers[harmless if harmless is not None else next(iter(self._peers))]
