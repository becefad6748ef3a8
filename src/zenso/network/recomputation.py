"""Recompute the code of a text: the one computation that settles what a record claims."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache
from threading import Lock

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.canonical import content_hash
from zenso.network.records import Record
from zenso.zen import Provenance, ZenEncoder

_UNIT = 32_767.0**2
_KEPT = 4096  # texts whose code and vector are kept, 2 kB each and the text


class Recomputer:
    """Gives the code of a text, and tells whether a record's is right.

    Parameters
    ----------
    encoder : ZenEncoder, or a function without arguments that loads one
        It is loaded when it is first needed.
    """

    def __init__(self, encoder: ZenEncoder | Callable[[], ZenEncoder]) -> None:
        self._given = encoder
        self._loading = Lock()
        self._loaded: ZenEncoder | None = None if callable(encoder) else encoder
        self._embedded = lru_cache(_KEPT)(self._embed)

    @property
    def is_loaded(self) -> bool:
        """Whether the encoder is there; what needs it may wait for long, or fail, where it is not."""
        return self._loaded is not None

    @property
    def encoder(self) -> ZenEncoder:
        """The encoder."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._given() if callable(self._given) else self._given
            return self._loaded

    @cached_property
    def space(self) -> bytes:
        """What a record's ``provenance`` must be here: see ``space_of``."""
        return space_of(self.encoder.provenance)

    def fields(self, text: str) -> dict[str, bytes]:
        """Return ``code``, ``content_hash`` and ``provenance`` of a record with this text."""
        code, vector = self._embedded(text)
        return {"code": code, "content_hash": content_hash(vector), "provenance": self.space}

    def is_right(self, record: Record) -> bool:
        """Tell whether a lesson's code and content hash are those of its text."""
        claimed = {"code": record.code, "content_hash": record.content_hash, "provenance": record.provenance}
        return self.fields(record.text) == claimed

    def cosines(self, text: str, others: Sequence[str]) -> NDArray[np.float64]:
        """Return the cosines of a text's canonical vector with those of n others: (n,)."""
        vector = self._embedded(text)[1].astype(np.int64)
        return np.array([int(vector @ self._embedded(one)[1].astype(np.int64)) for one in others]) / _UNIT

    def _embed(self, text: str) -> tuple[bytes, NDArray[np.int16]]:
        made = self.encoder.encode_documents([text])
        return made.codes[0].tobytes(), made.vectors[0]


def space_of(provenance: Provenance) -> bytes:
    """Return BLAKE3 of a provenance's canonical JSON without ``model.kernel``: 32 bytes.

    Equal where codes are: builds of one version of the kernel give the same bits.
    """
    tree = asdict(provenance)
    del tree["model"]["kernel"]
    return blake3(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("utf-8")).digest()
