import json
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from zenso.errors import InputError
from zenso.network import Identity, Operation, Reason, Record, RecordError, decode_record, parse_id, sign_record
from zenso.network.dag_cbor import Link, content_id, decode, encode
from zenso.network.records import CONTEXT, MAX_RECORD_BYTES, MAX_TEXT
from zenso.network.work import mine, work_bits

VECTORS = Path(__file__).parents[2] / "docs" / "vectors" / "experience_record.json"
ALICE = Identity(bytes([1]) * 32)
LESSON = {"code": bytes(964), "content_hash": bytes(32), "provenance": bytes(32), "text": "é → 🚀", "confidence": 0.5}
RECORD = sign_record(ALICE, Operation.ADD, "coding", 1_800_000_000_000, bits=4, **LESSON)
FIELDS = decode(RECORD.encoded)


def changed(**fields):
    return encode({**FIELDS, **fields})


def test_a_record_comes_back_from_its_bytes():
    read = decode_record(RECORD.encoded)
    assert read == RECORD
    assert read.id == RECORD.id == content_id(RECORD.encoded)
    assert parse_id(RECORD.id_text) == RECORD.id
    assert RECORD.is_signed
    assert RECORD.work >= 4


@pytest.mark.parametrize("operation", list(Operation))
def test_every_operation_has_its_form(operation):
    lesson = operation in (Operation.ADD, Operation.MODIFY, Operation.MERGE)
    targets = {Operation.ADD: 0, Operation.MERGE: 2}.get(operation, 1)
    ids = [content_id(bytes([n])) for n in range(targets)]
    fields = LESSON if lesson else {"vote": -1} if operation is Operation.VOTE else {}
    record = sign_record(ALICE, operation, "coding", 0, bits=0, targets=ids, **fields)
    assert decode_record(record.encoded) == record
    for wrong in ({"targets": ids + ids + [ids[0]] * 20 if ids else [content_id(b"")]}, {"vote": 1 - abs(record.vote)}):
        with pytest.raises(RecordError):
            sign_record(ALICE, operation, "coding", 0, bits=0, **{"targets": ids, **fields, **wrong})


BAD = {
    "nothing": (b"", Reason.MALFORMED),
    "too large": (bytes(MAX_RECORD_BYTES + 1), Reason.TOO_LARGE),
    "no map": (encode([1]), Reason.MALFORMED),
    "cut off": (RECORD.encoded[:-1], Reason.MALFORMED),
    "a byte more": (RECORD.encoded + b"\x00", Reason.MALFORMED),
    "nested without end": (b"\x81" * 30_000, Reason.MALFORMED),
    "an unknown field": (changed(extra=1), Reason.UNKNOWN_FIELD),
    "a missing field": (encode({k: v for k, v in FIELDS.items() if k != "vote"}), Reason.MISSING_FIELD),
    "another version": (changed(version=2), Reason.WRONG_VERSION),
    "true for a version": (changed(version=True), Reason.NOT_CANONICAL),
    "too long a text": (changed(text="x" * (MAX_TEXT + 1)), Reason.TEXT_TOO_LONG),
    "a blank text": (changed(text=" \n"), Reason.BAD_FIELD),
    "bad UTF-8": (RECORD.encoded.replace("é".encode(), b"\xff\xfe"), Reason.BAD_UTF8),
    "a surrogate": (RECORD.encoded.replace("→".encode(), b"\xed\xa0\x80"), Reason.BAD_UTF8),
    "a short code": (changed(code=bytes(963)), Reason.CODE_LENGTH),
    "a long code": (changed(code=bytes(965)), Reason.CODE_LENGTH),
    "no code": (changed(code=b""), Reason.CODE_LENGTH),
    "code as text": (changed(code="x" * 964), Reason.BAD_FIELD),
    "a short key": (changed(creator=bytes(31)), Reason.BAD_FIELD),
    "confidence above 1": (changed(confidence=1.5), Reason.BAD_FIELD),
    "a whole number for a float": (changed(confidence=1), Reason.NOT_CANONICAL),
    "a time before 1970": (changed(created_at=-1), Reason.BAD_FIELD),
    "a time as float": (changed(created_at=1.0), Reason.BAD_FIELD),
    "a domain in capitals": (changed(domain="Coding"), Reason.BAD_FIELD),
    "a line break after the domain": (changed(domain="coding\n"), Reason.BAD_FIELD),
    "an unknown operation": (changed(operation="replace"), Reason.BAD_FIELD),
    "a map for an operation": (changed(operation={}), Reason.BAD_FIELD),
    "a link as bytes": (changed(operation="delete", targets=[content_id(b"")]), Reason.BAD_FIELD),
    "a nonce below 0": (changed(nonce=-1), Reason.BAD_FIELD),
    "a nonce of 64 bits": (changed(nonce=2**63), Reason.BAD_FIELD),
    "a longer form of a number": (RECORD.encoded.replace(b"dvote\x00", b"dvote\x18\x00"), Reason.NOT_CANONICAL),
    "a shorter float": (
        RECORD.encoded.replace(b"\xfb\x3f\xe0\0\0\0\0\0\0", b"\xfa\x3f\0\0\0"),
        Reason.NOT_CANONICAL,
    ),
    "keys in another order": (
        b"\xa2" + encode("vote") + b"\x00" + encode("code") + b"\x00",
        Reason.MALFORMED,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_refused_with_their_reason(name):
    data, reason = BAD[name]
    with pytest.raises(RecordError) as refused:
        decode_record(data)
    assert refused.value.reason is reason


def test_a_link_given_as_a_byte_string_is_another_form():
    record = sign_record(ALICE, Operation.DELETE, "coding", 0, bits=0, targets=[RECORD.id])
    plain = encode({**decode(record.encoded), "targets": [RECORD.id]})
    assert decode(plain) == decode(record.encoded)
    with pytest.raises(RecordError) as refused:
        decode_record(plain)
    assert refused.value.reason is Reason.NOT_CANONICAL


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(RECORD.encoded) - 1), st.integers(1, 255))
def test_no_changed_byte_gives_a_signed_record(place, difference):
    data = bytearray(RECORD.encoded)
    data[place] ^= difference
    try:
        record = decode_record(bytes(data))
    except RecordError:
        return
    assert not record.is_signed


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_reason(data):
    with pytest.raises(RecordError):
        decode_record(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_is_encoded_is_decoded_again(value):
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


def test_links_are_written_as_links():
    assert encode(Link(RECORD.id)) == b"\xd8\x2a\x58\x25\x00" + RECORD.id
    assert encode(RECORD.id)[:2] == b"\x58\x24"


@pytest.mark.parametrize("text", ["", "bafy", RECORD.id_text[:-1], RECORD.id_text.upper(), "b" * 59, "🚀"])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(InputError):
        parse_id(text)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 12))
def test_mined_work_is_what_blake3_says(seed, bits):
    nonce = mine(seed, bits)
    digest = blake3(seed + nonce.to_bytes(8, "little")).digest()
    zeros = len(digest) * 8 - int.from_bytes(digest, "big").bit_length()
    assert zeros >= bits
    assert work_bits(seed, nonce) == zeros


def test_work_that_cannot_be_asked_for():
    with pytest.raises(InputError):
        mine(b"short", 4)
    with pytest.raises(InputError):
        mine(bytes(32), 41)


def test_test_vectors_hold():
    vectors = json.loads(VECTORS.read_text("utf-8"))
    assert vectors["json_schema"] == Record.model_json_schema(mode="serialization")
    for case in vectors["records"]:
        record = decode_record(bytes.fromhex(case["bytes"]))
        assert json.loads(record.model_dump_json()) == case["record"]
        assert record.id_text == case["id"]
        assert record.seed.hex() == case["seed"]
        assert record.work == case["work"]
        assert record.is_signed
        message = CONTEXT + record.seed + record.nonce.to_bytes(8, "little")
        assert Identity(bytes.fromhex(vectors["private_key"])).sign(message) == record.signature
    for case in vectors["refused"]:
        with pytest.raises(RecordError) as refused:
            decode_record(bytes.fromhex(case["bytes"]))
        assert refused.value.reason == case["reason"]
