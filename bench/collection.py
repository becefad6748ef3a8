"""A large collection made of real documents: real codes, repeated with noise until there are enough.

The first copy is exact. In every other one a document's pooled vector is turned by 22.5 degrees in a random direction
(which flips an eighth of the signs that its slot 0 consists of), and an eighth of the bits of its token groups is
flipped, each bit by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import progress
from zenso.bitdelta import SlotBasis, slot_bits
from zenso.bitdelta.format import GROUP_BYTES, HEADER_BYTES, SLOT_BYTES
from zenso.evaluation.retrieval_set import RetrievalSet
from zenso.zen import DocumentEmbeddings, QueryEmbedding, ZenEncoder

FLIPPED = 1 / 8  # share of bits; three random bits are all ones as often
_TURN = np.tan(np.pi * FLIPPED)
_FIRST_GROUP = HEADER_BYTES + SLOT_BYTES


@dataclass(frozen=True)
class Collection:
    """The real documents, and how many there shall be in all."""

    texts: list[str]
    sets: list[str]  # the retrieval set of each text
    embeddings: DocumentEmbeddings
    size: int

    def copies(self) -> Iterator[tuple[int, NDArray[np.int16], NDArray[np.uint8]]]:
        """Yield the number of each copy, its vectors (n, 384) and its codes (n, 964); the last copy is cut short.

        Rows are counted through the copies: row r is document ``r % len(texts)``.
        """
        for copy, first in enumerate(range(0, self.size, len(self.texts))):
            count = min(len(self.texts), self.size - first)
            vectors, codes = self.embeddings.vectors[:count], self.embeddings.codes[:count]
            yield copy, *(_noisy(vectors, codes, np.random.default_rng([7680, copy])) if copy else (vectors, codes))

    def frequencies(self, tokens: NDArray[np.int32]) -> tuple[int, NDArray[np.int64]]:
        """Return the number of documents, and how many hold each of some tokens (m,), as a memory of them counts."""
        copies, rest = divmod(self.size, len(self.texts))
        held = np.zeros(len(tokens), np.int64)
        for row, token_set in enumerate(self.embeddings.token_sets):
            held += np.isin(tokens, token_set) * (copies + (row < rest))
        return self.size, held

    def text(self, row: int) -> str:
        """Return the text of a row; a copy says which one it is."""
        copy, index = divmod(row, len(self.texts))
        return f"{self.texts[index]} (copy {copy})" if copy else self.texts[index]


def _noisy(
    vectors: NDArray[np.int16], codes: NDArray[np.uint8], random: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    turned = vectors / 32767 + random.standard_normal(vectors.shape, np.float32) * (_TURN / np.sqrt(vectors.shape[1]))
    turned = np.rint(turned / np.linalg.norm(turned, axis=1, keepdims=True) * 32767).astype(np.int16)
    changed = codes.copy()
    changed[:, HEADER_BYTES:_FIRST_GROUP] = slot_bits(turned)
    first, second, third = random.integers(0, 256, (3, len(codes), codes.shape[1] - _FIRST_GROUP), np.uint8)
    used = np.arange(first.shape[1]) < GROUP_BYTES * codes[:, 1:2].astype(np.int64)  # the others are always zero
    changed[:, _FIRST_GROUP:] ^= first & second & third & np.where(used, 255, 0).astype(np.uint8)
    return turned, changed


def embed(encoder: ZenEncoder, sets: Sequence[RetrievalSet], size: int, kept: Path | None) -> Collection:
    """Embed every document of the sets; ``kept`` is a file that the embeddings are read from, or written to."""
    texts = [text for data in sets for text in data.documents]
    names = [data.name for data in sets for _ in data.documents]
    if kept is not None and kept.exists():
        with np.load(kept) as arrays:
            token_sets = np.split(arrays["token_sets"], np.cumsum(arrays["token_set_sizes"])[:-1])
            embeddings = DocumentEmbeddings(arrays["vectors"], arrays["codes"], arrays["token_counts"], token_sets)
        return Collection(texts, names, embeddings, size)
    with progress() as bars:
        task = bars.add_task("embed documents", total=len(texts))
        embeddings = encoder.encode_documents(texts, lambda done: bars.advance(task, done))
    if kept is not None:
        np.savez(
            kept,
            vectors=embeddings.vectors,
            codes=embeddings.codes,
            token_counts=embeddings.token_counts,
            token_sets=np.concatenate(embeddings.token_sets),
            token_set_sizes=np.array([len(one) for one in embeddings.token_sets]),
        )
    return Collection(texts, names, embeddings, size)


def choose_queries(sets: Sequence[RetrievalSet], count: int) -> list[str]:
    """Take about as many queries of each set, spaced over all of them; in turn, so that neighbours are of two sets."""
    each = -(-count // len(sets))
    chosen = [data.queries[index * len(data.queries) // each] for index in range(each) for data in sets]
    return list(dict.fromkeys(chosen))[:count]


def save_queries(path: Path, queries: Sequence[str], embedded: Sequence[QueryEmbedding]) -> None:
    """Write embedded queries for another process."""
    np.savez(
        path,
        texts=np.array(queries),
        vectors=np.stack([one.vector for one in embedded]),
        tokens=np.concatenate([one.tokens for one in embedded]),
        ids=np.concatenate([one.ids for one in embedded]),
        weights=np.concatenate([one.weights for one in embedded]),
        sizes=np.array([len(one.tokens) for one in embedded]),
        projection=embedded[0].basis.projection,
        share=embedded[0].basis.share,
        units=embedded[0].basis.units,
    )


def load_queries(path: Path) -> dict[str, QueryEmbedding]:
    """Read what ``save_queries`` wrote."""
    with np.load(path) as arrays:
        cuts = np.cumsum(arrays["sizes"])[:-1]
        tokens, ids, weights = (np.split(arrays[name], cuts) for name in ("tokens", "ids", "weights"))
        basis = SlotBasis(arrays["projection"], int(arrays["share"]), arrays["units"])
        parts = map(QueryEmbedding, arrays["vectors"], tokens, ids, weights, [basis] * len(tokens))
        return dict(zip(map(str, arrays["texts"]), parts, strict=True))
