"""Writes docs/vectors/canonical_embedding.json: what another implementation of canonical inference must give.

python scripts/write_vectors.py            # write it
python scripts/write_vectors.py --check    # exit code 1 if it is not current
"""

import json
import sys
from pathlib import Path
from typing import Any

from blake3 import blake3
from generated_file import write_or_check

from zenso.bitdelta import encode_slots
from zenso.canonical import (
    EMBEDDING_NAMESPACE,
    CanonicalEmbedding,
    CanonicalEncoder,
    Want,
    chunk_id,
)
from zenso.models import load_artifact
from zenso.zen.slot_artifact import load_slot_artifact

TARGET = Path(__file__).parents[1] / "docs" / "vectors" / "canonical_embedding.json"
MODEL = "all-MiniLM-L6-v2"
DOCUMENT = "docs/vectors"  # the document id of every chunk here; the sequence is the text's place in the list

TEXTS = {
    "greeting of CFS-010": "Hello, world!",
    "fox of CFS-010": "The quick brown fox",
    "one letter": "a",
    "accents and case": "Ça, c'est l'ÉTÉ à Zürich.",
    "Chinese and Japanese": "整数の計算は順序によらない。整数运算与顺序无关。",
    "Hebrew and Arabic": "שלום עולם, مرحبا بالعالم",
    "emoji": "👩‍🚀 to the 🌕 and back 🚀",
    "300 words, cut to 256 tokens": " ".join(f"word{n}" if n % 7 == 0 else "water" for n in range(300)),
}

_NOTES = {
    "token_ids": "special tokens included, cut to 256",
    "states_blake3": "of the token states: unit directions, int16 LE, scale 32767, token by token",
    "vector": "mean of the token states, normalised, scale 32767",
    "content_hash": "BLAKE3 of the vector as int16 LE",
    "chunk_id": "first 16 bytes of BLAKE3(u32 LE length of document_id, document_id, u32 LE sequence, text), UTF-8",
    "embedding_id": "UUID version 5 of chunk_id || model_hash in embedding_namespace",
    "code": "964 bytes: see docs/embeddings.md",
    "record_blake3": "of the record in bytes: see docs/canonical.md; it holds the digests of the provenance above",
}


def vectors() -> dict[str, Any]:
    """Compute all of the file."""
    encoder = CanonicalEncoder(load_artifact(MODEL))
    slots = load_slot_artifact(MODEL)
    want = Want.POOLED | Want.TOKENS
    encoded = encoder.encode(list(TEXTS.values()), want)
    weights = [slots.token_weights[ids] for ids in encoded.ids]
    codes = encode_slots(encoded.pooled, encoded.tokens, weights, slots.basis)
    cases = []
    for sequence, (name, text) in enumerate(TEXTS.items()):
        vector = encoded.pooled[sequence]
        record = CanonicalEmbedding.of(chunk_id(DOCUMENT, sequence, text), vector, encoder.provenance)
        cases.append(
            {
                "name": name,
                "document_id": DOCUMENT,
                "sequence": sequence,
                "text": text,
                "token_ids": encoded.ids[sequence].tolist(),
                "states_blake3": blake3(encoded.tokens[sequence].astype("<i2").tobytes()).hexdigest(),
                "vector": vector.tolist(),
                "content_hash": record.content_hash.hex(),
                "chunk_id": record.chunk_id.hex(),
                "embedding_id": str(record.id),
                "code": codes[sequence].tobytes().hex(),
                "record_blake3": blake3(record.to_bytes()).hexdigest(),
            }
        )
    return {
        "format": "canonical embedding, version 1",
        "embedding_namespace": str(EMBEDDING_NAMESPACE),
        "provenance": json.loads(encoder.provenance.to_json()),
        "provenance_digest": encoder.provenance.digest.hex(),
        "space": encoder.provenance.space.hex(),
        "slots": slots.digest.hex(),
        "notes": _NOTES,
        "cases": cases,
    }


def document() -> str:
    """Return the file: one line for each field, so that a change of one shows as one."""
    content = vectors()
    cases = content.pop("cases")
    head = [f'  "{key}": {json.dumps(value, ensure_ascii=False)},' for key, value in content.items()]
    shown = [
        "    {\n"
        + ",\n".join(f'      "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in case.items())
        + "\n    }"
        for case in cases
    ]
    return "\n".join(["{", *head, '  "cases": [', ",\n".join(shown), "  ]", "}", ""])


if __name__ == "__main__":
    sys.exit(write_or_check(__doc__, TARGET, document))
