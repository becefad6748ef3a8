"""Range-based set reconciliation: two nodes find out what differs between their sets of ids.

Source: Meyer, "Range-Based Set Reconciliation" (2023). Ids are 32-byte digests, ordered as bytes. A message covers the
whole order by ranges from left to right; each is *settled*, a *fingerprint* of one side's ids in it, or a *list* of
them. Equal fingerprints settle a range; else it is cut into pieces, down to a list. The bytes exchanged grow with the
difference times the logarithm of the size, not with the size.

The side that begins learns both differences. The other keeps nothing between messages, so a peer cannot make it hold
anything. A message is a DAG-CBOR list of ``[upper end, content]``: null where settled, 16 bytes of fingerprint, or a
list of ids. Upper ends rise strictly; the last one is empty and stands for the end of the order. What does not fit in
a message is left as one fingerprint for the rest.

Fingerprints are BLAKE3 of the ids one after the other: unlike sums, nobody can find ids that make two sets look equal.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import NamedTuple, Self, TypeAlias, overload

from blake3 import blake3

from zenso.errors import InputError, IntegrityError
from zenso.network.dag_cbor import DIGEST_BYTES, decode, encode

MAX_MESSAGE_BYTES = 262_144
MIN_MESSAGE_BYTES = 2_048
MAX_ROUNDS = 1_000
MAX_LEARNED = 100_000  # ids that one side lacks, learned in one go; the next reconciliation finds the others
_FINGERPRINT_BYTES = 16
_LISTED = 32  # a range of so few ids is listed
_PIECES = 16  # that a longer one is cut into
# In CBOR an id takes 34 bytes; a range without its ids 58 at most: two heads, the upper end, the fingerprint.
_ID_BYTES, _RANGE_BYTES = 34, 58
_MOST_LISTED = MAX_MESSAGE_BYTES // _ID_BYTES + 1  # one more than any message has room for

_Content: TypeAlias = bytes | list[bytes] | None


class SyncError(IntegrityError):
    """A peer's message of a reconciliation is not one, or there is no end to them."""


class _Range(NamedTuple):
    upper: bytes  # exclusive; empty for the end of the order
    content: _Content


class SortedIds(Sequence[bytes]):
    """Digests in order, in one buffer of 32 bytes each: it does not change, so all that reconcile share it.

    Parameters
    ----------
    ids : iterable of bytes
        Digests of 32 bytes.
    """

    def __init__(self, ids: Iterable[bytes] = ()) -> None:
        self._flat = memoryview(b"".join(sorted(set(ids))))

    def __len__(self) -> int:
        return len(self._flat) // DIGEST_BYTES

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return bytes(self._flat[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES])

    def __contains__(self, one: object) -> bool:
        place = self.place(one) if isinstance(one, bytes) else len(self)
        return place < len(self) and self[place] == one

    def place(self, one: bytes, start: int = 0) -> int:
        """Return where a digest is, or would be, from a place on."""
        return bisect_left(self, one, lo=start)

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of all of them: 32 bytes."""
        return blake3(self._flat).digest()

    def fingerprint(self, start: int, end: int) -> bytes:
        """Return 16 bytes of BLAKE3 of those from place ``start`` to before ``end``."""
        if end - start == len(self):
            return self.digest[:_FINGERPRINT_BYTES]
        part = self._flat[start * DIGEST_BYTES : end * DIGEST_BYTES]
        return blake3(part).digest(length=_FINGERPRINT_BYTES)

    def changed(self, changes: Mapping[bytes, bool]) -> Self:
        """Return what comes of adding the digests that are True and taking out those that are False."""
        if len(changes) > len(self) // 8:
            kept = {one for one in self if one not in changes}
            return type(self)(kept.union(one for one, is_in in changes.items() if is_in))
        parts: list[bytes | memoryview] = []
        last = 0
        for one, is_in in sorted(changes.items()):
            place = self.place(one, last)
            held = place < len(self) and self[place] == one
            parts += (self._flat[last * DIGEST_BYTES : place * DIGEST_BYTES], one if is_in else b"")
            last = place + held
        made = type(self)()
        made._flat = memoryview(b"".join([*parts, self._flat[last * DIGEST_BYTES :]]))  # noqa: SLF001 - of its own kind
        return made


class Reconciler:
    """One side's set of ids as it stands now, and what was learned about the other's.

    The side that begins sends ``begin()``, and ``advance(reply)`` until that is None; then ``missing`` are ids that
    only the other has, ``surplus`` ids that only this side has. The other side sends ``answer(message)``.

    Parameters
    ----------
    ids : iterable of bytes
        Digests of 32 bytes; ``SortedIds`` are taken as they are.
    max_message_bytes : int
        Of the messages made here; those of the other side may have ``MAX_MESSAGE_BYTES``.

    Raises
    ------
    InputError
        The messages are to be smaller than 2,048 bytes or larger than ``MAX_MESSAGE_BYTES``.
    """

    def __init__(self, ids: Iterable[bytes], *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        if not MIN_MESSAGE_BYTES <= max_message_bytes <= MAX_MESSAGE_BYTES:
            bounds = f"{MIN_MESSAGE_BYTES} to {MAX_MESSAGE_BYTES}"
            raise InputError(f"messages of at most {max_message_bytes} bytes; give {bounds}")
        self._ids = ids if isinstance(ids, SortedIds) else SortedIds(ids)
        self._limit = max_message_bytes
        self._rounds = 0
        self.missing: set[bytes] = set()
        self.surplus: set[bytes] = set()

    def begin(self) -> bytes:
        """Return the first message."""
        count = len(self._ids)
        whole = self._ids[:] if count <= _LISTED else self._ids.fingerprint(0, count)
        return _encoded([_Range(b"", whole)])

    def answer(self, message: bytes) -> bytes:
        """Return the reply to a message of the side that began.

        Raises
        ------
        SyncError
            It is no such message, or there were too many.
        """
        self._count_round()
        return _encoded(self._reply(_read(message), learn=False))

    def advance(self, reply: bytes) -> bytes | None:
        """Learn from a reply and return the next message, or None when all is known, or as much as one go may learn.

        Raises
        ------
        SyncError
            It is no reply, or there were too many.
        """
        self._count_round()
        ranges = self._reply(_read(reply), learn=True)
        settled = all(content is None for _, content in ranges)
        return None if settled or len(self.missing) >= MAX_LEARNED else _encoded(ranges)

    def _count_round(self) -> None:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise SyncError(f"{MAX_ROUNDS} rounds of reconciliation and no end; leave this peer")

    def _reply(self, message: list[_Range], *, learn: bool) -> list[_Range]:
        """Answer range by range, as far as the message has room; what is left is one fingerprint."""
        made: list[_Range] = []
        room = self._limit - 2 * _RANGE_BYTES  # the rest takes one more range, the message a head
        start = 0
        for upper, content in message:
            end = self._ids.place(upper, start) if upper else len(self._ids)
            for piece in self._answers(upper, content, (start, end), learn=learn):
                if piece.content is None and made and made[-1].content is None:
                    made[-1] = piece  # settled ranges grow together
                    continue
                size = _RANGE_BYTES + (_ID_BYTES * len(piece.content) if isinstance(piece.content, list) else 0)
                if size > room:
                    return self._cut_short(made, piece, room)
                made.append(piece)
                room -= size
            start = end
        return made

    def _answers(self, upper: bytes, content: _Content, bounds: tuple[int, int], *, learn: bool) -> Iterator[_Range]:
        """Yield this side's ranges for one of the other's."""
        start, end = bounds
        if isinstance(content, list):
            if learn:
                self._learn(content, start, end)
            mine = [] if learn else self._ids[start : min(end, start + _MOST_LISTED)]
            yield _Range(upper, None if learn or mine == content else mine)
        elif content is None or content == self._ids.fingerprint(start, end):
            yield _Range(upper, None)
        elif end - start <= _LISTED:
            yield _Range(upper, self._ids[start:end])
        else:
            cuts = [start + (end - start) * piece // _PIECES for piece in range(_PIECES + 1)]
            for first, last in pairwise(cuts):
                yield _Range(self._ids[last] if last < end else upper, self._ids.fingerprint(first, last))

    def _learn(self, listed: list[bytes], start: int, end: int) -> None:
        self.missing.update(one for one in listed if one not in self._ids)
        theirs = set(listed)
        mine = (one for one in map(self._ids.__getitem__, range(start, end)) if one not in theirs)
        self.surplus.update(islice(mine, max(0, MAX_LEARNED - len(self.surplus))))

    def _cut_short(self, made: list[_Range], piece: _Range, room: int) -> list[_Range]:
        """End a message that is full: as much of a list as there is room for, and a fingerprint of all the rest."""
        upper = made[-1].upper if made else b""
        if isinstance(piece.content, list) and (fitting := (room - _RANGE_BYTES) // _ID_BYTES) > 0:
            upper = piece.content[fitting]  # there are more, or it would have fitted
            made.append(_Range(upper, piece.content[:fitting]))
        first = self._ids.place(upper) if upper else 0
        return [*made, _Range(b"", self._ids.fingerprint(first, len(self._ids)))]


def _encoded(ranges: list[_Range]) -> bytes:
    return encode([[upper, content] for upper, content in ranges])


def _read(message: bytes) -> list[_Range]:
    """Return the ranges of a message that may be anything."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise SyncError(f"a message of {len(message):,} bytes in reconciliation; at most {MAX_MESSAGE_BYTES:,}")
    try:
        items = decode(message)
    except ValueError as error:
        raise SyncError(f"a message of reconciliation that is no DAG-CBOR: {error}") from None
    if not isinstance(items, list) or not items:
        raise SyncError("a message of reconciliation without ranges")
    ranges: list[_Range] = []
    lower = b""
    for place, item in enumerate(items):
        if not isinstance(item, list) or len(item) != 2:
            raise SyncError("a range of reconciliation that is no pair")
        upper, content = item
        last = place == len(items) - 1
        if not isinstance(upper, bytes) or len(upper) != (0 if last else DIGEST_BYTES) or not (last or upper > lower):
            raise SyncError("ranges of reconciliation whose ends do not rise to the end of the order")
        _check_content(content, lower, upper)
        ranges.append(_Range(upper, content))
        lower = upper
    return ranges


def _check_content(content: object, lower: bytes, upper: bytes) -> None:
    if isinstance(content, list):
        before = lower
        for place, one in enumerate(content):
            # The first may equal the lower end, which belongs to the range.
            rises = isinstance(one, bytes) and (one > before or (place == 0 and one == before))
            if not rises or len(one) != DIGEST_BYTES or (upper and one >= upper):
                raise SyncError("a list of reconciliation with something else than rising ids of its range")
            before = one
    elif content is not None and not (isinstance(content, bytes) and len(content) == _FINGERPRINT_BYTES):
        raise SyncError("a range of reconciliation that is neither settled, nor a fingerprint, nor a list")
