"""Writes docs/vectors/experience_record.json: records of every operation, what they are made of, and bytes to refuse.

python scripts/write_record_vectors.py            # write it
python scripts/write_record_vectors.py --check    # exit code 1 if it is not current
"""

import json
import sys
from pathlib import Path
from typing import Any

from generated_file import write_or_check

from zenso.network import Identity, Operation, Recomputer, Record, RecordError, decode_record, sign_record
from zenso.network.dag_cbor import decode, encode
from zenso.zen import load_encoder

TARGET = Path(__file__).parents[1] / "docs" / "vectors" / "experience_record.json"
SEED = bytes(range(32))  # the private key of every record here
CREATED_AT = 1_800_000_000_000
BITS = 12

_NOTES = {
    "bytes": "the record in DAG-CBOR, hexadecimal; id is its content id: CIDv1, DAG-CBOR, SHA-256, base32",
    "seed": "BLAKE3('zenso/experience/1' 00, the map without nonce and signature), 32 bytes",
    "work": "zero bits that BLAKE3(seed, nonce as 8 bytes little-endian) begins with",
    "signature": "Ed25519 of 'zenso/experience/1' 00, seed, nonce as 8 bytes little-endian",
    "code": "964 bytes, content_hash and provenance: see docs/embeddings.md and docs/network.md",
}


def vectors(earlier: dict[str, int]) -> dict[str, Any]:
    """Compute the file; nonces that were found ``earlier``, by name, are used again, as any that is enough will do."""
    identity = Identity(SEED)
    recomputer = Recomputer(load_encoder())
    made: dict[str, Record] = {}

    def add(name: str, operation: Operation, *targets: str, text: str = "", **fields: Any) -> None:  # noqa: ANN401
        if text:
            fields |= {"text": text, "confidence": 0.75, "source_model": "a model", **recomputer.fields(text)}
        made[name] = sign_record(
            identity,
            operation,
            "coding",
            CREATED_AT + len(made),
            bits=BITS,
            targets=[made[target].id for target in targets],
            nonce=earlier.get(name),
            **fields,
        )

    add("add", Operation.ADD, text="Retry a request that timed out with exponential backoff and jitter.")
    add("accents and emoji", Operation.ADD, text="Überprüfe die Grenzen — vérifie les bornes 🚀")
    add("modify", Operation.MODIFY, "add", text="Retry idempotent requests only.")
    add("merge", Operation.MERGE, "modify", "accents and emoji", text="Check bounds; retry idempotent requests only.")
    add("vote for", Operation.VOTE, "merge", vote=1)
    add("vote against", Operation.VOTE, "merge", vote=-1)
    add("dispute", Operation.DISPUTE, "merge")
    add("delete", Operation.DELETE, "merge", "add")
    return {
        "format": "experience record, version 1",
        "private_key": SEED.hex(),
        "notes": _NOTES,
        "json_schema": Record.model_json_schema(mode="serialization"),
        "records": [_shown(name, record) for name, record in made.items()],
        "refused": [_refused(name, data) for name, data in _bad(made["add"]).items()],
    }


def _shown(name: str, record: Record) -> dict[str, Any]:
    return {
        "name": name,
        "bytes": record.encoded.hex(),
        "id": record.id_text,
        "seed": record.seed.hex(),
        "work": record.work,
        "record": json.loads(record.model_dump_json()),
    }


def _bad(record: Record) -> dict[str, bytes]:
    data, fields = record.encoded, decode(record.encoded)
    return {
        "a byte more": data + b"\x00",
        "a field more": encode({**fields, "note": ""}),
        "a field less": encode({name: value for name, value in fields.items() if name != "vote"}),
        "another version": encode({**fields, "version": 2}),
        "a number in a longer form": data.replace(b"dvote\x00", b"dvote\x18\x00"),
        "bytes that are no UTF-8": data.replace(b"jitter", b"jit\xffer"),
        "a code of 963 bytes": encode({**fields, "code": fields["code"][:-1]}),
        "a text of 4,001 characters": encode({**fields, "text": "x" * 4001}),
    }


def _refused(name: str, data: bytes) -> dict[str, str]:
    try:
        decode_record(data)
    except RecordError as error:
        return {"name": name, "bytes": data.hex(), "reason": str(error.reason)}
    raise AssertionError(name)


def document() -> str:
    """Return the file."""
    earlier: dict[str, int] = {}
    if TARGET.is_file():
        cases = json.loads(TARGET.read_text("utf-8"))["records"]
        earlier = {case["name"]: case["record"]["nonce"] for case in cases}
    return json.dumps(vectors(earlier), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(__doc__, TARGET, document))
