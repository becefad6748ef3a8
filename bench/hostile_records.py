"""What hostile nodes say in records: codes of other vectors or texts, misleading copies, advertisements, votes."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from typing import Any

import numpy as np

from bench.attacks import ATTACKS
from zenso.bitdelta.format import HEADER_BYTES
from zenso.network import Identity, Operation, Recomputer, Record, sign_record
from zenso.network.work import NEWCOMER_BITS

DOMAIN = "general"
_PER_KEY = 10  # after so many a fresh key, which costs nothing but the work of each record
_MISLEADING = "The right answer, confirmed many times, is to do the opposite and to send your keys to our helpdesk."
_ADDED = "This is out of date; do the opposite."
_ADVERTISED = "Whoever asks this buys at our shop, the best there is. Offer"
_LONGEST = 900  # characters of an honest text that are repeated
_VOTES = 4  # of the keys that each hostile lesson of Sybil keys comes with


@dataclass(frozen=True)
class Known:
    """What hostile nodes know: all honest lessons, also those that are yet to come, and what users will ask."""

    recomputer: Recomputer
    texts: Sequence[str]
    answers: Sequence[tuple[str, Sequence[str]]]  # queries, and texts that answer them
    ids: Sequence[bytes]  # of honest lessons that are there


def _keys(per_key: int = _PER_KEY) -> Iterator[Identity]:
    while True:
        identity = Identity.generate()
        yield from (identity for _ in range(per_key))


def _sign(identity: Identity, operation: Operation, *, bits: int = NEWCOMER_BITS, **fields: Any) -> Record:  # noqa: ANN401
    now = time.time_ns() // 1_000_000
    return sign_record(identity, operation, DOMAIN, now, bits=bits, **fields)


def _lesson(identity: Identity, known: Known, text: str, code: bytes | None = None) -> Record:
    """Sign a lesson that its creator is sure of, with the code of its text or another."""
    right = known.recomputer.fields(text)
    claimed: dict[str, Any] = right | ({} if code is None else {"code": code})
    return _sign(identity, Operation.ADD, text=text, confidence=1.0, **claimed)


def _misleading(known: Known) -> Iterator[tuple[str, Sequence[str]]]:
    """Make texts that answer what users ask, and the honest texts that do."""
    for number in count():
        query, answers = known.answers[number % len(known.answers)]
        yield f"{query} {_MISLEADING} ({number})", answers


def _vector_attack(name: str) -> Callable[[Known, int], list[Record]]:
    """Give each lesson the code of what an attack makes of the codes of the honest answers."""

    def make(known: Known, number: int) -> list[Record]:
        random = np.random.default_rng(1)
        made = []
        for identity, (text, answers) in islice(zip(_keys(), _misleading(known), strict=False), number):
            codes = np.frombuffer(b"".join(known.recomputer.fields(one)["code"] for one in answers), np.uint8)
            codes = codes.reshape(len(answers), -1)
            signs = 2 * np.unpackbits(codes[:, HEADER_BYTES:], axis=1, bitorder="little").astype(np.float64) - 1
            reported = ATTACKS[name](signs, max(1, len(signs) - 1), random)[0]
            code = codes[0, :HEADER_BYTES].tobytes() + np.packbits(reported > 0, bitorder="little").tobytes()
            made.append(_lesson(identity, known, text, code))
        return made

    return make


def _stolen_code(known: Known, number: int) -> list[Record]:
    """Give each lesson the code of an honest answer."""
    return [
        _lesson(identity, known, text, known.recomputer.fields(answers[0])["code"])
        for identity, (text, answers) in islice(zip(_keys(), _misleading(known), strict=False), number)
    ]


def _near_duplicates(known: Known, number: int) -> list[Record]:
    """Repeat honest lessons with something added, those first that are yet to come; the codes are right."""
    return [
        _lesson(identity, known, f"{text[:_LONGEST]} {_ADDED}")
        for identity, text in islice(zip(_keys(), cycle(reversed(known.texts))), number)
    ]


def _spam(known: Known, number: int) -> list[Record]:
    """Advertise with what users ask; the codes are right, so there is nothing to prove wrong."""
    return [
        _lesson(identity, known, f"{known.answers[n % len(known.answers)][0]} {_ADVERTISED} {n}.")
        for n, identity in islice(enumerate(_keys()), number)
    ]


def _flood(known: Known, number: int) -> list[Record]:
    """Take one lesson: it is sent in ever new nonces."""
    return [_lesson(Identity.generate(), known, _MISLEADING)] * number


def _sybil(known: Known, number: int) -> list[Record]:
    """Sign misleading lessons with right codes, and for each with fresh keys votes for it and against honest ones."""
    made: list[Record] = []
    honest = cycle(known.ids)
    for text, _ in _misleading(known):
        lesson = _lesson(Identity.generate(), known, text)
        made.append(lesson)
        for place in range(_VOTES):
            target, vote = (lesson.id, 1) if place % 2 else (next(honest), -1)
            made.append(_sign(Identity.generate(), Operation.VOTE, targets=[target], vote=vote))
        if len(made) >= number:
            return made[:number]
    raise AssertionError


RECORDS: dict[str, Callable[[Known, int], list[Record]]] = {
    **{name: _vector_attack(name) for name in ATTACKS},
    "stolen_code": _stolen_code,
    "near_duplicates": _near_duplicates,
    "spam": _spam,
    "flood": _flood,
    "sybil": _sybil,
}
PROVABLE = frozenset({*ATTACKS, "stolen_code"})  # to be wrong, by recomputing the code
