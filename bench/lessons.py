"""Lessons to share: sentences of real documents, made into records of many keys."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from zenso.errors import InputError
from zenso.network import Identity, Operation, Recomputer, Record, sign_record
from zenso.network.work import NEWCOMER_BITS
from zenso.zen import ZenEncoder

DATA = Path("../shared/data/scifact")
MOST_COSINE = 0.85  # of two lessons; nodes refuse above .9
_SENTENCE = (40, 500)  # characters
_MAKERS = 2  # threads; the search for a nonce lets others run
_DELETED_AT_ONCE = 16  # targets of one deletion


def sentences(folder: Path) -> Iterator[str]:
    """Yield the sentences of the documents of a folder in the BEIR layout.

    Raises
    ------
    InputError
        There are none.
    """
    file = folder / "corpus.jsonl"
    if not file.exists():
        raise InputError(f"{file} is missing; give --data a folder in the BEIR layout")
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            for sentence in json.loads(line)["text"].split(". "):
                if _SENTENCE[0] <= len(text := sentence.strip()) <= _SENTENCE[1]:
                    yield text


def distinct(
    encoder: ZenEncoder, texts: Iterator[str], count: int, on_found: Callable[[int], object] = lambda _: None
) -> list[str]:
    """Return ``count`` texts that no node takes for near-duplicates of one another.

    Raises
    ------
    InputError
        There are not so many.
    """
    found: list[str] = []
    kept = np.zeros((count, encoder.encode_vectors(["a"]).shape[1]), np.float32)
    while len(found) < count:
        batch = list(islice(texts, 256))
        if not batch:
            raise InputError(f"--data has {len(found):,} distinct lessons; ask for fewer records than {count:,}")
        for text, vector in zip(batch, encoder.encode_vectors(batch).astype(np.float32) / 32_767, strict=True):
            known = kept[: len(found)]
            if len(found) < count and (not found or float((known @ vector).max()) < MOST_COSINE):
                kept[len(found)] = vector
                found.append(text)
        on_found(len(found))
    return found


@dataclass
class RecordMaker:
    """Signs records of one domain as somebody who owes a newcomer's work."""

    recomputer: Recomputer
    domain: str

    def add(self, identity: Identity, text: str) -> Record:
        """Return the record of a new lesson."""
        return self._sign(identity, Operation.ADD, text=text, confidence=0.5, **self.recomputer.fields(text))

    def delete(self, identity: Identity, targets: Sequence[bytes]) -> Record:
        """Return the record that takes up to 16 lessons of the same key away."""
        return self._sign(identity, Operation.DELETE, targets=targets[:_DELETED_AT_ONCE])

    def add_many(self, texts: Sequence[str], per_key: int, on_made: Callable[[], object] = lambda: None) -> list[bytes]:
        """Return records of texts, ``per_key`` of each new key, in the order of the texts."""
        identities = [Identity.generate() for _ in range(0, len(texts), per_key)]

        def make(place: int) -> bytes:
            made = self.add(identities[place // per_key], texts[place]).encoded
            on_made()
            return made

        with ThreadPoolExecutor(_MAKERS) as pool:
            return list(pool.map(make, range(len(texts))))

    def _sign(self, identity: Identity, operation: Operation, **fields: Any) -> Record:  # noqa: ANN401 - of any field
        now = time.time_ns() // 1_000_000
        return sign_record(identity, operation, self.domain, now, bits=NEWCOMER_BITS, **fields)
