"""What a set of records means: which lessons stand, and what votes and disputes there are.

The records form a grow-only set; all that is derived here is a function of the set alone, so any order of delivery and
any repetition give the same state on every node, and no consensus is needed.

- A link to a target counts only within one domain, and, but for votes and disputes, only between records of one
  creator: nobody can delete or replace what another wrote.
- A lesson is **deleted** when a deletion names it, or when it replaces (modifies or merges) a deleted one. Delete wins:
  nothing brings a deleted lesson back.
- A lesson is **replaced** when a modification or merge names it; unless that one fell only because *another* of its
  targets was deleted: then what is left of a merge stands again.
- Two modifications of one lesson both stand.
- Of the votes of one key on one lesson, the latest counts; equal times by id. One's own lessons cannot be voted on.
- A record whose code was proven wrong is no member. The proof is a computation with one right answer, so all nodes
  agree on it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from zenso.network.dag_cbor import DIGEST_BYTES
from zenso.network.reconciliation import SortedIds
from zenso.network.records import LESSONS, Operation, Record

_REPLACING = frozenset({Operation.MODIFY, Operation.MERGE})


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of a record that the state depends on."""

    id: bytes
    operation: Operation
    domain: str
    creator: bytes
    created_at: int
    targets: tuple[bytes, ...] = ()
    vote: int = 0

    @classmethod
    def of(cls, record: Record) -> "Entry":
        """Take it from a record."""
        return cls(
            record.id,
            record.operation,
            record.domain,
            record.creator,
            record.created_at,
            record.targets,
            record.vote,
        )


class State:
    """The state that a growing set of records makes."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._domains: dict[str, _Domain] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, record_id: bytes) -> bool:
        return record_id in self._entries

    def get(self, record_id: bytes) -> Entry | None:
        """Return a record's entry, or None."""
        return self._entries.get(record_id)

    def add(self, entry: Entry) -> None:
        """Add a record; adding it again changes nothing."""
        if entry.id not in self._entries:
            self._entries[entry.id] = entry
            self._domains.setdefault(entry.domain, _Domain()).add(entry)

    def exclude(self, record_id: bytes) -> None:
        """Take out a lesson whose code was proven wrong, if it is there; it is not to be added again."""
        entry = self._entries.pop(record_id, None)
        if entry is not None:
            self._domains[entry.domain].exclude(entry)

    def domains(self) -> dict[str, int]:
        """Return the number of records by domain."""
        return {name: len(domain.entries) for name, domain in sorted(self._domains.items()) if domain.entries}

    def ids(self, domain: str) -> list[bytes]:
        """Return the ids of a domain's records."""
        return list(self._domains[domain].entries) if domain in self._domains else []

    def sorted_ids(self, domain: str) -> SortedIds:
        """Return the digests in the ids of a domain's records, in order."""
        return self._domains[domain].sorted_ids() if domain in self._domains else SortedIds()

    def digest(self, domain: str) -> bytes:
        """Return BLAKE3 of the digests in the ids of a domain's records, in order: 32 bytes, equal for equal sets."""
        return self.sorted_ids(domain).digest

    def lessons(self, domain: str) -> list[bytes]:
        """Return the ids of the lessons of a domain that stand."""
        return list(self._domains[domain].standing) if domain in self._domains else []

    def stands(self, record_id: bytes) -> bool:
        """Tell whether a record is a lesson that is neither deleted nor replaced."""
        entry = self._entries.get(record_id)
        return entry is not None and record_id in self._domains[entry.domain].standing

    def votes(self, record_id: bytes) -> dict[bytes, int]:
        """Return the votes on a lesson, 1 or -1, by key."""
        lesson = self._entries.get(record_id)
        if lesson is None:
            return {}
        latest: dict[bytes, Entry] = {}
        for one in self._domains[lesson.domain].naming(lesson.id, Operation.VOTE):
            before = latest.get(one.creator)
            if before is None or (one.created_at, one.id) > (before.created_at, before.id):
                latest[one.creator] = one
        return {voter: one.vote for voter, one in latest.items() if voter != lesson.creator}

    def disputers(self, domain: str, record_id: bytes) -> list[bytes]:
        """Return the keys that dispute a record, which need not be there."""
        disputes = self._domains[domain].naming(record_id, Operation.DISPUTE) if domain in self._domains else []
        return list(dict.fromkeys(one.creator for one in disputes))


class _Domain:
    """The records of one domain."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.standing: dict[bytes, None] = {}  # lessons, in the order in which they came to stand
        # By target, which may not be known yet; apart, as there may be very many votes on one lesson.
        self._naming: dict[Operation, dict[bytes, list[Entry]]] = {operation: {} for operation in Operation}
        self._deleted: set[bytes] = set()
        self._sorted = SortedIds()
        self._unsorted: dict[bytes, bool] = {}  # digests that came (True) or went since

    def sorted_ids(self) -> SortedIds:
        if self._unsorted:
            self._sorted = self._sorted.changed(self._unsorted)
            self._unsorted.clear()
        return self._sorted

    def exclude(self, lesson: Entry) -> None:
        """Take out a lesson, and undo what it did: deletions that came through it."""
        through, waiting = {lesson.id}, [lesson.id]
        while waiting:
            for one in self.naming(waiting.pop(), *_REPLACING):
                if one.id not in through and one.creator == lesson.creator:
                    through.add(one.id)
                    waiting.append(one.id)
        self._deleted -= through
        touched = self._with_targets(through)
        del self.entries[lesson.id]
        self._unsorted[lesson.id[-DIGEST_BYTES:]] = False
        for target in lesson.targets:
            naming = self._naming[lesson.operation][target]
            naming.remove(lesson)
            if not naming:
                del self._naming[lesson.operation][target]
        for record_id in through - {lesson.id}:
            entry = self.entries[record_id]
            if self._is_named_by_deletion(entry) or self._replaces_deleted(entry):
                touched |= self._delete([record_id])
        self._judge(touched)

    def add(self, entry: Entry) -> None:
        self.entries[entry.id] = entry
        self._unsorted[entry.id[-DIGEST_BYTES:]] = True
        for target in entry.targets:
            self._naming[entry.operation].setdefault(target, []).append(entry)
        touched: set[bytes] = set()
        if entry.operation is Operation.DELETE:
            touched = self._with_targets(entry.targets)
            touched |= self._delete([target for target in entry.targets if self._owns(entry, target)])
        elif entry.operation in LESSONS:
            touched = self._with_targets([entry.id])
            if self._is_named_by_deletion(entry) or self._replaces_deleted(entry):
                touched |= self._delete([entry.id])
        self._judge(touched)

    def naming(self, target: bytes, *operations: Operation) -> list[Entry]:
        return [one for operation in operations for one in self._naming[operation].get(target, ())]

    def _with_targets(self, ids: Iterable[bytes]) -> set[bytes]:
        """Return records and what they name: whether those stand depends on them."""
        known = [entry for one in ids if (entry := self.entries.get(one)) is not None]
        return {one for entry in known for one in (entry.id, *entry.targets)}

    def _judge(self, ids: Iterable[bytes]) -> None:
        for one in ids:
            entry = self.entries.get(one)
            if entry is not None and entry.operation in LESSONS and self._stands(entry):
                self.standing[one] = None
            else:
                self.standing.pop(one, None)

    def _stands(self, lesson: Entry) -> bool:
        return lesson.id not in self._deleted and not any(
            self._owns(one, lesson.id) and (one.id not in self._deleted or self._is_named_by_deletion(one))
            for one in self.naming(lesson.id, *_REPLACING)
        )

    def _owns(self, entry: Entry, target: bytes) -> bool:
        known = self.entries.get(target)
        return known is not None and known.operation in LESSONS and known.creator == entry.creator

    def _is_named_by_deletion(self, entry: Entry) -> bool:
        return any(one.creator == entry.creator for one in self.naming(entry.id, Operation.DELETE))

    def _replaces_deleted(self, entry: Entry) -> bool:
        return any(target in self._deleted and self._owns(entry, target) for target in entry.targets)

    def _delete(self, ids: list[bytes]) -> set[bytes]:
        """Delete lessons, and all that replace them; return those whose standing that may change."""
        waiting = [one for one in ids if one not in self._deleted]
        gone = set(waiting)
        self._deleted |= gone
        while waiting:
            for one in self.naming(waiting.pop(), *_REPLACING):
                if one.id not in self._deleted and self._replaces_deleted(one):
                    self._deleted.add(one.id)
                    gone.add(one.id)
                    waiting.append(one.id)
        return self._with_targets(gone)
