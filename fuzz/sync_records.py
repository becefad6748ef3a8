"""What a fuzzed synchronisation is about: records of honest keys and of hostile ones, with quick codes."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.bitdelta import CODE_BYTES
from zenso.network.dag_cbor import CID_PREFIX
from zenso.network.identity import Identity
from zenso.network.records import Operation, Record, decode_record, sign_record

NOW = 1_800_000_000.0
DOMAIN = "coding"


class QuickCodes:
    """A recomputer whose code of a text is a hash of it: quick, and right or wrong as the model's is."""

    space = bytes(32)

    def fields(self, text: str) -> dict[str, bytes]:
        """Return code, content hash and provenance."""
        code = blake3(text.encode()).digest(length=CODE_BYTES)
        return {"code": code, "content_hash": code[:32], "provenance": self.space}

    def is_right(self, record: Record) -> bool:
        """Tell whether a lesson's code is that of its text."""
        return self.fields(record.text)["code"] == record.code

    def cosines(self, _: str, others: Sequence[str]) -> NDArray[np.float64]:
        """Return that no text is near another."""
        return np.zeros(len(others))


class Always:
    """Draws every lesson to be recomputed."""

    def random(self) -> float:
        """Return the least."""
        return 0.0


_NONCES = count()
RECOMPUTER: Any = QuickCodes()
ALICE, BOB, MALLORY, SYBIL = (Identity(bytes([number]) * 32) for number in range(1, 5))


def lesson(identity: Identity, text: str, operation: Operation = Operation.ADD, **given: Any) -> Record:
    """Sign a lesson."""
    fields = {**RECOMPUTER.fields(text), "text": text, **given}
    return sign(identity, operation, **fields)


def sign(identity: Identity, operation: Operation, **fields: Any) -> Record:
    """Sign a record; each has another nonce."""
    given = {"domain": DOMAIN, "created_at": int(NOW * 1000), **fields}
    return sign_record(identity, operation, bits=0, nonce=next(_NONCES), **given)


HELD = [lesson(ALICE, f"what the node knows: {number}") for number in range(45)]
OTHERS = [lesson(BOB, f"what a peer knows: {number}") for number in range(12)]
OTHERS += [sign(BOB, Operation.DELETE, targets=[OTHERS[0].id, OTHERS[1].id])]
OTHERS += [sign(BOB, Operation.VOTE, targets=[record.id], vote=1) for record in HELD[:4]]
# What may be taken from someone hostile, or not; in either case it does no harm.
DOUBTFUL = [lesson(MALLORY, "x" * 4000), lesson(MALLORY, "a lesson of a stranger")]
DOUBTFUL += [sign(MALLORY, Operation.VOTE, targets=[HELD[0].id], vote=-1)]
DOUBTFUL += [sign(MALLORY, Operation.DISPUTE, targets=[HELD[number].id]) for number in range(3)]
DOUBTFUL += [sign(MALLORY, Operation.VOTE, targets=[CID_PREFIX + bytes(32)], vote=1)]
WRONG = lesson(SYBIL, "a code of something else", **RECOMPUTER.fields("something else"))
INVALID = [
    WRONG,
    sign(SYBIL, Operation.DELETE, targets=[HELD[5].id]),
    lesson(SYBIL, "mine now", Operation.MODIFY, targets=[HELD[6].id]),
    lesson(SYBIL, "from tomorrow", created_at=int(NOW * 1000) + 86_400_000),
    lesson(SYBIL, "of elsewhere", domain="other"),
    lesson(SYBIL, "of another model", provenance=b"\x01" * 32),
]
INVALID += [decode_record(HELD[7].encoded.replace(b"knows: 7", b"knows? 7"))]
DOUBTFUL += [sign(MALLORY, Operation.DISPUTE, targets=[WRONG.id])]
POOLS = [[record.encoded for record in records] for records in (OTHERS, DOUBTFUL, INVALID, HELD)]
DIGESTS = [record.id[-32:] for record in (*HELD, *OTHERS, *DOUBTFUL, *INVALID)]
KEPT = {record.id[-32:] for record in HELD}
SHARED = {record.id[-32:] for record in (*HELD, *OTHERS)}
ALLOWED = SHARED | {record.id[-32:] for record in DOUBTFUL}
BY_DIGEST = {record.id[-32:]: record.encoded for record in (*OTHERS, *DOUBTFUL, *INVALID)}
