"""What a node lets in: the checks of section 9, cheapest first, and what each outcome does to reputations.

Order: sender, size and schema, whether it is known, clock, signature, model, work, rate, nonce, room, ownership, near
duplicates, recomputed code. Every check but the last two takes microseconds.

A reputation belongs to a ``key:`` (a creator) or a ``peer:`` (what hands records over). Below ``CUT_OFF`` nothing is
taken any more.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from threading import RLock
from typing import TypeVar

from zenso.network.dag_cbor import CID_PREFIX, DIGEST_BYTES, cid_text, content_id
from zenso.network.reasons import Blame, Reason, RecordError
from zenso.network.recomputation import Recomputer
from zenso.network.records import LESSONS, Operation, Record, decode_record
from zenso.network.store import RecordStore
from zenso.network.work import NEWCOMER_BITS, required_bits

HOURLY = 100  # records of a key in one hour of the clock, UTC, by their time
MAX_AHEAD = 300.0  # seconds that a record may be ahead of the clock here
MAX_AGE = 86_400.0  # seconds; older ones come by synchronisation only
DUPLICATE_COSINE = 0.9
CUT_OFF = 0.06  # score: three wrong codes, or twelve messages that are no records, and nothing good
SENDER_BURST, SENDER_RATE = 400, 200.0  # offers of a peer at once, and a second
SAMPLES = (0.25, 0.0625)  # share of lessons recomputed: of newcomers, and of keys of full standing

# Of 384 signs of the pooled vectors, 55 differ at a cosine of .9, give or take 7.
_NEAR_SIGNS, _MOST_COMPARED = 84, 8
_HOUR = 3_600_000  # milliseconds
# Weights of good outcomes. The first is of a right code, and of a won dispute: anyone can make a wrong one to dispute.
_VERIFIED, _DELIVERED = 0.25, 0.02
MOST_VERIFIED = 1.0  # good outcomes beyond which right codes and won disputes, which only cost work, bring no more
_REMEMBERED = 100_000  # refused ids, and peers' rates
_RESERVED_FOR = (Operation.DELETE, Operation.DISPUTE)  # of a store that is nearly full
_OPERATIONS_ON_OWN = (Operation.MODIFY, Operation.MERGE, Operation.DELETE)
_PASSING = {Reason.ACCEPTED, Reason.KNOWN, Reason.CLOCK_AHEAD, Reason.SENDER_RATE, Reason.OVERLOADED}


K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an offered record."""

    reason: Reason
    text: str  # for people: what was wrong and what to do
    record: Record | None = None  # None where the bytes were no record, or were not looked at

    @property
    def accepted(self) -> bool:
        """Whether it is new in the store, and is to be forwarded."""
        return self.reason is Reason.ACCEPTED


class _Refusal(Exception):  # noqa: N818 - caught where it is raised from
    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Admission:
    """Checks offered records and puts those that pass into the store. Threads may share it; they take turns.

    Parameters
    ----------
    store : RecordStore
    recomputer : Recomputer
    domains : iterable of str
        Those that the node follows.
    clock : callable
        Seconds since 1970, UTC.
    newcomer_bits : int
        Zero bits of work that every record has at least; the same on all nodes.
    random : Random
        Draws what is recomputed; by default the system's source, which nobody can foretell.
    own : bytes, optional
        The key of the node's owner, whose word has full weight here: from their votes all trust in others begins.
    """

    def __init__(
        self,
        store: RecordStore,
        recomputer: Recomputer,
        domains: Iterable[str],
        *,
        clock: Callable[[], float],
        newcomer_bits: int = NEWCOMER_BITS,
        random: Random | None = None,
        own: bytes | None = None,
    ) -> None:
        self.store = store
        self.recomputer = recomputer
        self.domains = frozenset(domains)
        self.outcomes: Counter[Reason] = Counter()  # since the node started
        self._own = own
        self._clock = clock
        self._newcomer_bits = newcomer_bits
        self._random = random or SystemRandom()
        self._lock = RLock()
        self._refused: OrderedDict[bytes, None] = OrderedDict()
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # offers left, and when that was

    def offer(self, data: bytes, sender: str, *, synced: bool = False, own: bool = False) -> Verdict:
        """Check one record and store it if it passes.

        Parameters
        ----------
        data : bytes
        sender : str
            The peer that handed it over, as the transport knows it.
        synced : bool
            It was asked for in a reconciliation: it may be old, and near to another lesson, as both sides of a
            partition may have taken one.
        own : bool
            It was made here, and is refused here before anyone else sees it: that costs nobody.

        Raises
        ------
        StorageError
            The disk refuses; the record may be offered again.
        """
        with self._lock:
            record = None
            try:
                if not own:
                    self._check_sender(sender, synced=synced)
                record = decode_record(data)
                self._check(record, synced=synced)
                self._store(record)
            except (_Refusal, RecordError) as refusal:
                verdict = Verdict(refusal.reason, str(refusal), record)
                if not own:
                    self._charge(verdict, sender)
                if synced and verdict.reason not in _PASSING:
                    _remember(self._refused, content_id(data), None)
            else:
                verdict = Verdict(Reason.ACCEPTED, "accepted", record)
                if not own:
                    self._observe(f"peer:{sender}", good=True, weight=_DELIVERED)
            self.outcomes[verdict.reason] += 1
            return verdict

    def required_bits(self, creator: bytes) -> int:
        """Return the zero bits of work that a key owes here now."""
        return required_bits(self._score(f"key:{creator.hex()}"), self._newcomer_bits)

    def wanted(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return the ids (36 bytes) of digests that are missing here, but for those of records refused before."""
        ids = (CID_PREFIX + one for one in digests if len(one) == DIGEST_BYTES)
        with self._lock:
            return [one for one in ids if one not in self._refused and not self.is_wrong(one)]

    def is_wrong(self, record_id: bytes) -> bool:
        """Whether the record's code was found wrong here. Where a peer still holds it, dispute it."""
        return self.store.recomputed(record_id) is False

    def peer_score(self, sender: str) -> float:
        """Return a peer's reputation score now, 0 to 1."""
        return self._score(f"peer:{sender}")

    def is_cut_off(self, sender: str) -> bool:
        """Whether nothing is taken from a peer any more."""
        return self.peer_score(sender) < CUT_OFF

    def blame_peer(self, sender: str, weight: float = 1.0) -> None:
        """Count a bad outcome of a peer: garbage in a synchronisation, half a message and no more."""
        self._observe(f"peer:{sender}", good=False, weight=weight)

    def convict(self, record: Record) -> None:
        """Take out a record whose code was recomputed elsewhere and is wrong; its creator answers for it."""
        with self._lock:
            if self.store.recomputed(record.id) is None:
                self.store.set_recomputed(record.id, is_right=False)
                self._observe(f"key:{record.creator.hex()}", good=False, weight=Reason.WRONG_CODE.weight)

    def now_milliseconds(self) -> int:
        """Return the time of a record made now."""
        return int(self._clock() * 1000)

    def count_hour(self, creator: bytes, at: int) -> int:
        """Return how many records of a key are of the hour of a time in milliseconds; it may have ``HOURLY``."""
        first = at - at % _HOUR
        return self.store.count_created(creator, first, first + _HOUR - 1)

    def standing(self, creator: bytes) -> float:
        """Return the weight of a key's word now, 0 to 1."""
        if creator == self._own:
            return 1.0
        return self.store.reputation(f"key:{creator.hex()}").standing(self._clock())

    # --- checks, in order ---------------------------------------------------------------------------------------

    def _check_sender(self, sender: str, *, synced: bool) -> None:
        if self.is_cut_off(sender):
            raise _Refusal(Reason.CUT_OFF, "this peer's reputation is spent; nothing is taken from it")
        if synced:
            return
        now = self._clock()
        left, at = self._budgets.get(sender, (SENDER_BURST, now))
        left = min(SENDER_BURST, left + SENDER_RATE * max(0.0, now - at))
        _remember(self._budgets, sender, (max(0.0, left - 1), now))
        if left < 1:
            raise _Refusal(Reason.SENDER_RATE, f"more than {SENDER_RATE:.0f} records a second; send them slower")

    def _check(self, record: Record, *, synced: bool) -> None:
        if record.domain not in self.domains:
            raise _Refusal(Reason.OTHER_DOMAIN, f"the domain {record.domain} is not followed here")
        if record.id in self.store:
            raise _Refusal(Reason.KNOWN, "the record is here already")
        if self.is_wrong(record.id):
            raise _Refusal(Reason.KNOWN, "the record is known here, and was found wrong")
        self._check_clock(record, synced=synced)
        if not record.is_signed:
            raise _Refusal(Reason.BAD_SIGNATURE, "the signature is not the creator's, of this record")
        if record.operation in LESSONS and record.provenance != self.recomputer.space:
            raise _Refusal(Reason.OTHER_MODEL, "the code is of another model or version than this network's here")
        self._check_creator(record)
        if not self.store.has_room(for_all=record.operation not in _RESERVED_FOR):
            raise _Refusal(Reason.FULL, "this node's store is full; whoever runs it can raise store_bytes")
        for target in record.targets:
            known = self.store.entry(target)
            if record.operation in _OPERATIONS_ON_OWN and known is not None and known.creator != record.creator:
                raise _Refusal(Reason.NOT_CREATOR, f"{cid_text(target)} is another's; vote on it, or add a lesson")
        if record.operation in LESSONS:
            self._check_lesson(record, synced=synced)

    def _check_clock(self, record: Record, *, synced: bool) -> None:
        age = self._clock() - record.created_at / 1000
        if age < -MAX_AHEAD:
            raise _Refusal(Reason.CLOCK_AHEAD, f"made {-age:.0f} s in the future; set the clock")
        if age > MAX_AGE and not synced:
            raise _Refusal(Reason.TOO_OLD, f"made {age:.0f} s ago; older ones than a day come by synchronisation")

    def _check_creator(self, record: Record) -> None:
        key = f"key:{record.creator.hex()}"
        if self._score(key) < CUT_OFF:
            raise _Refusal(Reason.CUT_OFF, "the creator's reputation is spent; nothing of this key is taken")
        if record.work < self._newcomer_bits:
            raise _Refusal(Reason.NO_WORK, f"{record.work} bits of work; every record has {self._newcomer_bits}")
        if record.work < (owed := self.required_bits(record.creator)):
            raise _Refusal(Reason.LOW_WORK, f"{record.work} bits of work; this key owes {owed} now")
        if self.count_hour(record.creator, record.created_at) >= HOURLY:
            raise _Refusal(Reason.RATE, f"more than {HOURLY} records of one key in an hour; wait for the next")
        if self.store.has_nonce(record.creator, record.nonce):
            raise _Refusal(Reason.REPLAYED_NONCE, "the nonce was used in another record; do the work anew")

    def _check_lesson(self, record: Record, *, synced: bool) -> None:
        disputers = self.store.disputers(record.domain, record.id)
        near = [] if synced else self.store.nearest(record.domain, record.code, _NEAR_SIGNS)
        near = [one for one in near if one not in record.targets][:_MOST_COMPARED]
        if not (disputers or near or self._is_drawn(record.creator)):
            return
        is_first = self.store.recomputed(record.id) is None
        right = self._recompute(record)
        for place, disputer in enumerate(disputers):
            self._settle(disputer, right=right, first=place == 0)
        if not right:
            raise _Refusal(Reason.WRONG_CODE, "the code is not that of the text; compute it with the canonical model")
        self._check_duplicate(record, near)
        if is_first:
            self._observe_verified(record.creator)

    def _check_duplicate(self, record: Record, near: Sequence[bytes]) -> None:
        """Refuse what is here already, but let no key keep out what one of more standing says in other words."""
        standing = self.standing(record.creator)
        lessons = [lesson for one in near if (lesson := self.store.get(one)) is not None]
        others = [one for one in lessons if one.text == record.text or self.standing(one.creator) >= standing]
        cosines = self.recomputer.cosines(record.text, [one.text for one in others])
        if others and cosines.max() > DUPLICATE_COSINE:
            other = others[int(cosines.argmax())].id_text
            raise _Refusal(Reason.DUPLICATE, f"cosine {cosines.max():.3f} with {other}; vote for that instead")

    # --- effects ------------------------------------------------------------------------------------------------

    def _store(self, record: Record) -> None:
        if record.operation is Operation.VOTE:
            self._count_vote(record)
        elif record.operation is Operation.DISPUTE:
            self._judge(record)
            return
        self.store.add(record)

    def _judge(self, dispute: Record) -> None:
        """Settle a dispute by recomputing its target; kept whatever comes out, so that every node holds the same."""
        target = dispute.targets[0]
        lesson = self.store.get(target)
        right = self.store.recomputed(target)
        first = not self.store.disputers(dispute.domain, target)
        if right is None and lesson is not None and lesson.operation in LESSONS and lesson.domain == dispute.domain:
            right = self._recompute(lesson)
            if right:
                self._observe_verified(lesson.creator)
            else:
                blamed = f"key:{lesson.creator.hex()}"
                self._observe(blamed, good=False, weight=Reason.WRONG_CODE.weight)
        self.store.add(dispute)
        if right:
            raise _Refusal(Reason.FALSE_DISPUTE, "the code was recomputed and is right")
        if right is False:
            self._settle(dispute.creator, right=False, first=first)

    def _settle(self, disputer: bytes, *, right: bool, first: bool) -> None:
        if right:
            self._observe(f"key:{disputer.hex()}", good=False, weight=Reason.FALSE_DISPUTE.weight)
        elif first:
            self._observe_verified(disputer)

    def _recompute(self, record: Record) -> bool:
        known = self.store.recomputed(record.id)
        if known is None:
            known = self.recomputer.is_right(record)
            self.store.set_recomputed(record.id, is_right=known)
        return known

    def _observe_verified(self, creator: bytes) -> None:
        """Let a right code count for its creator, up to what is to be had so: it shows care, and no usefulness."""
        key = f"key:{creator.hex()}"
        missing = MOST_VERIFIED - self.store.reputation(key).good
        if missing > 0:
            self._observe(key, good=True, weight=min(_VERIFIED, missing))

    def _count_vote(self, vote: Record) -> None:
        """Let a reputable key's first vote on a lesson count for its creator, the less the more there were before."""
        lesson = self.store.entry(vote.targets[0])
        standing = self.standing(vote.creator)
        # Those of no standing come in any number: they are not counted through.
        if standing == 0 or lesson is None or lesson.creator == vote.creator:
            return
        if vote.creator in self.store.votes(lesson.id):
            return
        weight = standing / (1 + self.store.count_votes(vote.creator, lesson.creator))
        self._observe(f"key:{lesson.creator.hex()}", good=vote.vote > 0, weight=weight)

    def _is_drawn(self, creator: bytes) -> bool:
        newcomer, known = SAMPLES
        return self._random.random() < newcomer + (known - newcomer) * self.standing(creator)

    def _charge(self, verdict: Verdict, sender: str) -> None:
        blame = verdict.reason.blame
        if blame is Blame.SENDER:
            self._observe(f"peer:{sender}", good=False, weight=verdict.reason.weight)
        elif blame is Blame.CREATOR and verdict.record is not None:
            self._observe(f"key:{verdict.record.creator.hex()}", good=False, weight=verdict.reason.weight)

    def _score(self, subject: str) -> float:
        return self.store.reputation(subject).score(self._clock())

    def _observe(self, subject: str, *, good: bool, weight: float) -> None:
        self.store.observe(subject, self._clock(), good=good, weight=weight)


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    """Set an entry as the latest; the oldest goes when there are too many."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
