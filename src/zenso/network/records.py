"""Experience records: what nodes exchange. Each is signed, costs work, and is named by its bytes.

A record is a DAG-CBOR map of exactly the fields of ``Record`` (``version`` included) and the signature; its id is the
content id (CIDv1, DAG-CBOR, SHA-256) of all of its bytes. With the context ``CONTEXT`` so that no signature can be
mistaken for one of another protocol:

=========  =================================================================================================
body       the map without ``nonce`` and ``signature``
seed       BLAKE3(CONTEXT, body), 32 bytes
work       BLAKE3(seed, nonce as 8 bytes little-endian) begins with zero bits (see ``work``)
signature  Ed25519 of CONTEXT, seed and the nonce as 8 bytes little-endian
=========  =================================================================================================

Bytes that another encoder wrote in another form are refused, so a record has one id.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from blake3 import blake3
from libipld import decode_multibase
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from zenso.bitdelta import CODE_BYTES
from zenso.errors import InputError
from zenso.network.dag_cbor import CID_BYTES, Link, cid_text, content_id, decode, encode, is_content_id
from zenso.network.identity import KEY_BYTES, SIGNATURE_BYTES, Identity, is_signed
from zenso.network.reasons import Reason, RecordError
from zenso.network.work import MAX_NONCE, mine, work_bits

CONTEXT = b"zenso/experience/1\x00"
MAX_RECORD_BYTES = 32_768
MAX_TEXT = 4_000  # characters
MAX_TARGETS = 16
HASH_BYTES = 32
MAX_TIME = 2**53  # milliseconds; beyond any clock, and exact in every language


class Operation(StrEnum):
    """What a record does to the set."""

    ADD = "add"  # a lesson
    MODIFY = "modify"  # a lesson that takes the place of one of the same creator
    MERGE = "merge"  # a lesson that takes the place of several of the same creator
    DELETE = "delete"  # takes away lessons of the same creator, for good
    VOTE = "vote"  # says of a lesson that it helped (1), or misled (-1)
    DISPUTE = "dispute"  # says that a lesson's code is not that of its text


_TARGETS = {
    Operation.ADD: (0, 0),
    Operation.MODIFY: (1, 1),
    Operation.MERGE: (2, MAX_TARGETS),
    Operation.DELETE: (1, MAX_TARGETS),
    Operation.VOTE: (1, 1),
    Operation.DISPUTE: (1, 1),
}
LESSONS = frozenset({Operation.ADD, Operation.MODIFY, Operation.MERGE})  # operations that carry text and code


def _as_tuple(given: object) -> object:
    return tuple(given) if isinstance(given, list) else given


_HEX = PlainSerializer(bytes.hex, when_used="json")
Target = Annotated[
    bytes, Field(min_length=CID_BYTES, max_length=CID_BYTES), PlainSerializer(cid_text, when_used="json")
]


class Record(BaseModel):
    """A signed record. Make one with ``sign_record``, read one with ``decode_record``.

    In JSON bytes are hexadecimal and content ids text; ``model_json_schema(mode="serialization")`` describes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ignored_types=(cached_property,))

    version: Literal[1] = 1
    operation: Annotated[Operation, BeforeValidator(Operation)]
    domain: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    text: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0  # the creator's own estimate
    source_model: Annotated[str, Field(max_length=200)] = ""  # what the lesson was learned with, as its creator says
    creator: Annotated[bytes, Field(min_length=KEY_BYTES, max_length=KEY_BYTES), _HEX]
    created_at: Annotated[int, Field(ge=0, le=MAX_TIME)]  # milliseconds since 1970, UTC
    targets: Annotated[tuple[Target, ...], BeforeValidator(_as_tuple)] = ()
    vote: Annotated[int, Field(ge=-1, le=1)] = 0
    code: Annotated[bytes, _HEX] = b""
    content_hash: Annotated[bytes, _HEX] = b""  # BLAKE3 of the canonical vector
    provenance: Annotated[bytes, _HEX] = b""  # what the code's bits depend on: see Recomputer.space
    nonce: Annotated[int, Field(ge=0, le=MAX_NONCE)]
    signature: Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES), _HEX]

    @model_validator(mode="after")
    def _fits_its_operation(self) -> Self:
        low, high = _TARGETS[self.operation]
        if not low <= len(self.targets) <= high or len(set(self.targets)) != len(self.targets):
            raise ValueError(f"{len(self.targets)} targets for {self.operation}; it has {low} to {high}, each once")
        if not all(map(is_content_id, self.targets)):
            raise ValueError("a target that is no content id of a record")
        if (self.vote != 0) != (self.operation is Operation.VOTE):
            raise ValueError(f"vote {self.vote} in {self.operation}; a vote is 1 or -1, anything else has 0")
        lesson = self.operation in LESSONS
        if lesson != bool(self.text.strip()) or (self.text and not lesson):
            raise ValueError(f"text of {len(self.text)} characters in {self.operation}")
        for name, length in (("code", CODE_BYTES), ("content_hash", HASH_BYTES), ("provenance", HASH_BYTES)):
            wanted = length if lesson else 0
            if len(getattr(self, name)) != wanted:
                raise ValueError(f"{name} of {len(getattr(self, name))} bytes in {self.operation}; it has {wanted}")
        if not lesson and (self.confidence or self.source_model):
            raise ValueError(f"confidence or source model in {self.operation}, which is no lesson")
        return self

    @cached_property
    def encoded(self) -> bytes:
        """All of the record's bytes."""
        return encode(self._fields())

    @cached_property
    def id(self) -> bytes:
        """Content id of the bytes: 36 bytes."""
        return content_id(self.encoded)

    @property
    def id_text(self) -> str:
        """The id as text: ``bafyrei...``."""
        return cid_text(self.id)

    @cached_property
    def seed(self) -> bytes:
        """What work is done on: BLAKE3 of the context and the body, 32 bytes."""
        return _seed(self._fields())

    @property
    def work(self) -> int:
        """Zero bits of the work that was done."""
        return work_bits(self.seed, self.nonce)

    @property
    def is_signed(self) -> bool:
        """Whether the signature is the creator's, of this record."""
        return is_signed(_signed(self.seed, self.nonce), self.signature, self.creator)

    def _fields(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return fields | {"operation": str(self.operation), "targets": [Link(target) for target in self.targets]}


def decode_record(data: bytes) -> Record:
    """Read a record that may come from anyone. Neither signature nor work are checked here.

    Raises
    ------
    RecordError
        The bytes are not exactly one record in its one form; ``reason`` says why.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise RecordError(Reason.TOO_LARGE, f"a record of {len(data):,} bytes; at most {MAX_RECORD_BYTES:,}")
    try:
        fields = decode(data)
    except ValueError as error:
        reason = Reason.BAD_UTF8 if "UnicodeDecodeError" in str(error) else Reason.MALFORMED
        raise RecordError(reason, f"a record that is no DAG-CBOR ({error}); send it as it was signed") from None
    if not isinstance(fields, dict):
        raise RecordError(Reason.MALFORMED, f"a record that is a {type(fields).__name__}; it is a map")
    if missing := [name for name in Record.model_fields if name not in fields]:
        raise RecordError(Reason.MISSING_FIELD, f"a record without {', '.join(missing)}")
    record = _validated(fields)
    if record.encoded != data:
        raise RecordError(Reason.NOT_CANONICAL, "a record that DAG-CBOR writes in another way; encode it canonically")
    return record


def sign_record(
    identity: Identity,
    operation: Operation,
    domain: str,
    created_at: int,
    *,
    bits: int,
    targets: Sequence[bytes] = (),
    nonce: int | None = None,
    **fields: Any,  # noqa: ANN401 - fields of Record
) -> Record:
    """Do the work for a record and sign it.

    Parameters
    ----------
    identity : Identity
        Of the creator.
    operation : Operation
    domain : str
    created_at : int
        Milliseconds since 1970, UTC.
    bits : int
        Zero bits of work (``work.required_bits``).
    targets : sequence of bytes
        Ids of the records it is about.
    nonce : int, optional
        One to use if it gives enough work; by default one is searched.
    **fields
        ``text``, ``confidence``, ``source_model``, ``vote``, ``code``, ``content_hash``, ``provenance``.

    Raises
    ------
    RecordError
        The fields make no record.
    """
    given: dict[str, Any] = {
        **fields,
        "operation": operation,
        "domain": domain,
        "created_at": created_at,
        "creator": identity.public_key,
        "targets": tuple(targets),
    }
    draft = _validated({**given, "nonce": 0, "signature": bytes(SIGNATURE_BYTES)})
    if nonce is None or work_bits(draft.seed, nonce) < bits:
        nonce = mine(draft.seed, bits)
    return _validated({**given, "nonce": nonce, "signature": identity.sign(_signed(draft.seed, nonce))})


def parse_id(text: str) -> bytes:
    """Return the id, 36 bytes, that a text like ``bafyrei...`` stands for.

    Raises
    ------
    InputError
        It is no id of a record.
    """
    try:
        cid = bytes(decode_multibase(text)[1])
    except (ValueError, TypeError):
        cid = b""
    if not is_content_id(cid) or cid_text(cid) != text:
        raise InputError(f"{text[:100]!r} is no id of a record; they look like bafyrei... and have 59 characters")
    return cid


def _seed(fields: dict[str, Any]) -> bytes:
    body = {name: value for name, value in fields.items() if name not in ("nonce", "signature")}
    return blake3(CONTEXT + encode(body)).digest()


def _signed(seed: bytes, nonce: int) -> bytes:
    return CONTEXT + seed + nonce.to_bytes(8, "little")


_REASONS = {"extra_forbidden": Reason.UNKNOWN_FIELD, "missing": Reason.MISSING_FIELD}


def _validated(fields: dict[str, Any]) -> Record:
    try:
        return Record.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = str(first["loc"][0]) if first["loc"] else ""
        reason = _REASONS.get(first["type"], Reason.BAD_FIELD)
        if place == "version":
            reason = Reason.WRONG_VERSION
        elif first["type"] == "string_too_long" and place == "text":
            reason = Reason.TEXT_TOO_LONG
        elif not place and "code of" in first["msg"]:
            reason = Reason.CODE_LENGTH
        raise RecordError(reason, f"a record with {place or 'fields'} that cannot be: {first['msg']}") from None
