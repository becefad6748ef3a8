"""The process that atheris drives: ``network_target.py [libFuzzer options]``.

Bytes go to the record decoder and to a reconciliation, as they are and as valid DAG-CBOR bent field by field. Each is
refused with an error of Zenso's own, or read and written again as the same bytes.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

import zenso.memory
import zenso.robust
import zenso.zen  # noqa: F401 - imported before, so that none of these is instrumented

with atheris.instrument_imports(include=["zenso.network.records", "zenso.network.reconciliation"]):
    from zenso.network.reconciliation import MAX_MESSAGE_BYTES, Reconciler
    from zenso.network.records import Operation, decode_record, sign_record

from blake3 import blake3

from zenso.errors import ZensoError
from zenso.network.dag_cbor import CID_PREFIX, Link, decode, encode
from zenso.network.identity import Identity

VALUES: list[Any] = [0, 1, -1, 2**53, 2**63, True, None, "", "x" * 4001, b"", bytes(36), [], [[]], {}, 0.5, 1e300]
IDENTITY = Identity(bytes(32))
TARGETS = [CID_PREFIX + bytes([n]) * 32 for n in range(3)]
LESSON: dict[str, Any] = {"text": "a lesson", "code": bytes(964), "content_hash": bytes(32), "provenance": bytes(32)}
RECORDS = [
    sign_record(IDENTITY, Operation.ADD, "coding", 1, bits=0, nonce=0, **LESSON),
    sign_record(IDENTITY, Operation.MERGE, "coding", 2, bits=0, nonce=0, targets=TARGETS, **LESSON),
    sign_record(IDENTITY, Operation.VOTE, "coding", 3, bits=0, nonce=0, targets=TARGETS[:1], vote=1),
]
IDS = [blake3(bytes([n])).digest() for n in range(100)]


def read_record(data: bytes) -> None:
    """Decode a record; one that is read is written as the same bytes."""
    with suppress(ZensoError):
        record = decode_record(data)
        assert record.encoded == data
        assert record.work >= 0
        record.model_dump_json()


def reconcile(message: bytes) -> None:
    """Answer a message, and learn from it."""
    side = Reconciler(IDS)
    with suppress(ZensoError):
        assert len(side.answer(message)) <= MAX_MESSAGE_BYTES
        following = side.advance(message)
        assert following is None or len(following) <= MAX_MESSAGE_BYTES
        assert not side.missing & set(IDS)


def bent_record(source: atheris.FuzzedDataProvider) -> bytes:
    """Return a record with fields changed, and bytes changed after that."""
    record = RECORDS[source.ConsumeIntInRange(0, len(RECORDS) - 1)]
    fields = {**decode(record.encoded), "targets": [Link(target) for target in record.targets]}
    for _ in range(source.ConsumeIntInRange(0, 3)):
        name = source.PickValueInList(sorted(fields))
        fields[name] = source.PickValueInList(VALUES) if source.ConsumeBool() else source.ConsumeUnicodeNoSurrogates(20)
    data = bytearray(encode(fields))
    for _ in range(source.ConsumeIntInRange(0, 3)):
        data[source.ConsumeIntInRange(0, len(data) - 1)] = source.ConsumeIntInRange(0, 255)
    return bytes(data)


def bent_message(source: atheris.FuzzedDataProvider) -> bytes:
    """Return a message of ranges that mostly hold together."""
    uppers = sorted(source.PickValueInList(IDS) for _ in range(source.ConsumeIntInRange(0, 6)))
    ranges: list[Any] = []
    for upper in [*uppers, b""]:
        kind = source.ConsumeIntInRange(0, 4)
        listed = sorted({source.PickValueInList(IDS) for _ in range(source.ConsumeIntInRange(0, 4))})
        content = [None, source.ConsumeBytes(16), listed, [source.ConsumeBytes(32)], source.PickValueInList(VALUES)]
        ranges.append([upper, content[kind]])
    return encode(ranges)


def one_input(data: bytes) -> None:
    """Try one input in every way."""
    read_record(data)
    reconcile(data)
    source = atheris.FuzzedDataProvider(data)
    if source.ConsumeBool():
        read_record(bent_record(source))
    else:
        reconcile(bent_message(source))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
