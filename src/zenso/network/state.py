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

from collections import defaultdict
from dataclasses import dataclass

from blake3 import blake3

from zenso.network.dag_cbor import DIGEST_BYTES
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
        self._wrong: set[bytes] = set()
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
        if entry.id not in self._entries and entry.id not in self._wrong:
            self._entries[entry.id] = entry
            self._domains.setdefault(entry.domain, _Domain()).add(entry)

    def exclude(self, record_id: bytes) -> None:
        """Take out, for good, a record whose code was proven wrong; it need not be there."""
        self._wrong.add(record_id)
        entry = self._entries.pop(record_id, None)
        if entry is not None:
            # What the record did is undone by adding its domain anew: rare, and plainly right.
            rest = self._domains.pop(entry.domain).entries.values()
            self._domains[entry.domain] = fresh = _Domain()
            for one in rest:
                if one.id != record_id:
                    fresh.add(one)

    def domains(self) -> dict[str, int]:
        """Return the number of records by domain."""
        return {name: len(domain.entries) for name, domain in sorted(self._domains.items()) if domain.entries}

    def ids(self, domain: str) -> list[bytes]:
        """Return the ids of a domain's records."""
        return list(self._domains[domain].entries) if domain in self._domains else []

    def digest(self, domain: str) -> bytes:
        """Return BLAKE3 of the digests in the ids of a domain's records, in order: 32 bytes, equal for equal sets."""
        return blake3(b"".join(sorted(one[-DIGEST_BYTES:] for one in self.ids(domain)))).digest()

    def lessons(self, domain: str) -> list[bytes]:
        """Return the ids of the lessons of a domain that stand."""
        return [one for one in self.ids(domain) if self.stands(one)]

    def stands(self, record_id: bytes) -> bool:
        """Tell whether a record is a lesson that is neither deleted nor replaced."""
        entry = self._entries.get(record_id)
        return entry is not None and entry.operation in LESSONS and self._domains[entry.domain].stands(entry)

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
        self._naming: dict[bytes, list[Entry]] = defaultdict(list)  # by target, which may not be known yet
        self._deleted: set[bytes] = set()

    def add(self, entry: Entry) -> None:
        self.entries[entry.id] = entry
        for target in entry.targets:
            self._naming[target].append(entry)
        if entry.operation is Operation.DELETE:
            self._delete([target for target in entry.targets if self._owns(entry, target)])
        elif entry.operation in LESSONS and (self._is_named_by_deletion(entry) or self._replaces_deleted(entry)):
            self._delete([entry.id])

    def naming(self, target: bytes, *operations: Operation) -> list[Entry]:
        return [one for one in self._naming.get(target, ()) if one.operation in operations]

    def stands(self, lesson: Entry) -> bool:
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

    def _delete(self, ids: list[bytes]) -> None:
        """Delete lessons, and all that replace them."""
        waiting = [one for one in ids if one not in self._deleted]
        self._deleted.update(waiting)
        while waiting:
            for one in self.naming(waiting.pop(), *_REPLACING):
                if one.id not in self._deleted and self._replaces_deleted(one):
                    self._deleted.add(one.id)
                    waiting.append(one.id)
