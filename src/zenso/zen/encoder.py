"""Texts to Zen embeddings, with the canonical kernel."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from tokenizers import Tokenizer

from zenso import models
from zenso.bitdelta import CODE_BYTES, SLOT_WIDTH, encode_slots
from zenso.canonical import CanonicalEncoder, Encoded, ModelProvenance, Role, Want, check_texts
from zenso.zen.dense import DENSE_FORMAT, DenseEmbeddings, DenseSlots, check_dimensions, cut_dense, load_dense_slots
from zenso.zen.embedding import DocumentEmbeddings, QueryEmbedding
from zenso.zen.frequencies import Lookup, query_weights
from zenso.zen.slot_artifact import SlotArtifact, load_slot_artifact, read_slot_file
from zenso.zen.windows import Windows, cut_windows

_AT_ONCE = 256  # documents; their token states take 200 kB each at most until they are codes
CODE_FORMAT = "slots/2"


@dataclass(frozen=True)
class Provenance:
    """Everything that the bits of a Zen embedding and its code depend on."""

    model: ModelProvenance
    slots: str  # BLAKE3 of the slot artifact, hexadecimal
    code: str  # family and version of the code

    @property
    def native(self) -> bool:
        """Whether the model that was run is the one in whose space the embedding lies."""
        return True

    @property
    def searched(self) -> "Provenance":
        """Provenance of the documents that a query of this one may be compared with: the same."""
        return self

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of the canonical JSON, 32 bytes."""
        return blake3(self.to_json().encode("utf-8")).digest()

    def differences(self, stored: str) -> list[str]:
        """Name what differs from another provenance, given as JSON, in a way that changes results.

        Two builds of the kernel differ in their digest; as long as they share a version they give the same bits.
        """
        then, now = _flat(json.loads(stored)), _flat(asdict(self))
        return sorted(key for key in (then.keys() | now.keys()) - {"model.kernel"} if then.get(key) != now.get(key))


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@dataclass(frozen=True)
class TokenStates:
    """Token directions of a text, for late interaction."""

    vector: NDArray[np.int16]  # (384,): canonical pooled vector, scale 32767
    tokens: NDArray[np.int16]  # (tokens, 384): unit token states, scale 32767
    ids: NDArray[np.int32]  # (tokens,): special tokens included


class ZenEncoder:
    """A model, its slots and codes. May be used from several threads at once.

    Parameters
    ----------
    name : str
        Of the model in the catalogue.
    encoder : CanonicalEncoder
    slots : SlotArtifact, optional
        Others than those that are shipped for the model.
    """

    def __init__(self, name: str, encoder: CanonicalEncoder, slots: SlotArtifact | None = None) -> None:
        self.name = self._space = name
        self._encoder = encoder
        self._artifact = load_slot_artifact(name) if slots is None else slots

    @cached_property
    def provenance(self) -> Provenance:
        """What the bits of this encoder's results depend on."""
        return Provenance(self._encoder.provenance, self._artifact.digest.hex(), CODE_FORMAT)

    @property
    def canonical(self) -> CanonicalEncoder:
        """What computes token states."""
        return self._encoder

    @cached_property
    def splitting_tokenizer(self) -> Tokenizer:
        """The model's tokenizer without truncation, for chunking long texts."""
        return self._encoder.tokenizer.untruncated()

    @property
    def query_prefix(self) -> str:
        """What the model was trained to see before a query; empty for most."""
        return str(self._encoder.artifact.config["query_prefix"])

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are read, special tokens included."""
        return int(self._encoder.artifact.config["max_tokens"])

    def encode_documents(
        self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None
    ) -> DocumentEmbeddings:
        """Embed documents and encode them.

        Parameters
        ----------
        texts : sequence of str
        on_progress : callable, optional
            Called with the number of texts done since the last call.

        Raises
        ------
        InputError
            A text is not a string, or is empty.
        """
        check_texts(texts)
        vectors: list[NDArray[np.int16]] = [np.empty((0, SLOT_WIDTH), np.int16)]
        codes: list[NDArray[np.uint8]] = [np.empty((0, CODE_BYTES), np.uint8)]
        ids: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = self._encode(texts[start : start + _AT_ONCE], on_progress=on_progress)
            vectors.append(part.pooled)
            codes.append(self._encode_states(part.pooled, part.tokens, part.ids))
            ids += part.ids
        return _embeddings(np.concatenate(vectors), np.concatenate(codes), ids)

    def embed_states(
        self, vectors: NDArray[np.int16], tokens: Sequence[NDArray[np.int16]], ids: Sequence[NDArray[np.int32]]
    ) -> DocumentEmbeddings:
        """Encode documents whose states the kernel has given before.

        Parameters
        ----------
        vectors : int16, shape (n, 384)
            Pooled vectors.
        tokens : n arrays int16, shape (m, 384)
            Token directions.
        ids : n arrays int32, shape (m,)
            Token ids.
        """
        return _embeddings(vectors, self._encode_states(vectors, tokens, ids), ids)

    def _encode_states(
        self, vectors: NDArray[np.int16], tokens: Sequence[NDArray[np.int16]], ids: Sequence[NDArray[np.int32]]
    ) -> NDArray[np.uint8]:
        weights = [self._artifact.token_weights[row] for row in ids]
        with ThreadPoolExecutor(self._encoder.threads, thread_name_prefix="zenso-code") as pool:
            return encode_slots(vectors, tokens, weights, self._artifact.basis, spread=pool.map)

    def encode_query(self, text: str, frequencies: Lookup | None = None) -> QueryEmbedding:
        """Embed a query.

        Parameters
        ----------
        text : str
        frequencies : callable, optional
            Given token ids (m,), returns the number of documents that are searched and how many of them hold each,
            (m,). Without it tokens are weighed by the text that the slot artifact was made from.

        Raises
        ------
        InputError
            The text is not a string, or is empty.
        """
        encoded = self._encode([text], role=Role.QUERY)
        ids = encoded.ids[0]
        weights = query_weights(ids, self._artifact.shipped, frequencies)
        return QueryEmbedding(encoded.pooled[0], encoded.tokens[0], ids, weights, self._artifact.basis)

    def token_sets(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the distinct ids of the tokens that are read of each document, ascending."""
        prefix = str(self._encoder.artifact.config["document_prefix"])
        return [np.unique(ids) for ids in self._encoder.tokenizer.encode(texts, prefix)]

    def encode_vectors(
        self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None
    ) -> NDArray[np.int16]:
        """Return canonical pooled vectors only: int16, shape (n, 384), scale 32767."""
        return self._encode(texts, Want.POOLED, on_progress=on_progress).pooled

    @cached_property
    def _dense(self) -> DenseSlots:
        return load_dense_slots(self._space)

    @cached_property
    def dense_provenance(self) -> Provenance:
        """What the bits of dense vectors depend on."""
        return replace(self.provenance, slots=self._dense.digest.hex(), code=DENSE_FORMAT)

    def encode_dense(
        self,
        texts: Sequence[str],
        dimensions: int = 384,
        *,
        role: Role = Role.DOCUMENT,
        on_progress: Callable[[int], None] | None = None,
    ) -> DenseEmbeddings:
        """Embed texts as dense unit vectors, to be compared by dot product or cosine.

        Parameters
        ----------
        texts : sequence of str
        dimensions : int
            384 for the canonical pooled vectors; 1,920, 3,840 or 7,680 for their extension by slots.
        role : Role
            Of all texts. Where it is not known, documents may be compared with each other.
        on_progress : callable, optional
            Called with the number of texts done since the last call.

        Raises
        ------
        InputError
            A text is not a string, or is empty; there are no vectors of so many dimensions.
        ModelError
            No slots are shipped for this model.
        """
        check_dimensions(dimensions)
        check_texts(texts)
        pooled_only = dimensions == SLOT_WIDTH
        vectors: list[NDArray[np.int16]] = [np.empty((0, dimensions), np.int16)]
        counts: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            want = Want.POOLED if pooled_only else Want.POOLED | Want.TOKENS
            part = self._encode(texts[start : start + _AT_ONCE], want, role=role, on_progress=on_progress)
            vectors.append(self.dense_of(part, dimensions, role))
            counts += map(len, part.ids)
        return DenseEmbeddings(np.concatenate(vectors), np.array(counts, np.int32))

    def dense_of(self, encoded: Encoded, dimensions: int, role: Role = Role.DOCUMENT) -> NDArray[np.int16]:
        """Return the dense vectors of texts that the kernel has run: int16, shape (n, dimensions), scale 32767.

        Parameters
        ----------
        encoded : Encoded
            With pooled vectors, and with tokens where more than 384 dimensions are wanted.
        dimensions, role
            As for ``encode_dense``.

        Raises
        ------
        InputError
            There are no vectors of so many dimensions.
        """
        check_dimensions(dimensions)
        if dimensions == SLOT_WIDTH:
            return encoded.pooled
        return cut_dense(self._whole(encoded, role), dimensions)

    def _whole(self, encoded: Encoded, role: Role) -> NDArray[np.int16]:
        """Make the dense vectors of 7,680 numbers."""
        with ThreadPoolExecutor(self._encoder.threads, thread_name_prefix="zenso-dense") as pool:
            embed = partial(self._dense.embed, role=role)
            return np.stack(list(pool.map(embed, encoded.pooled, encoded.tokens, encoded.ids)))

    def encode_tokens(
        self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None
    ) -> list[TokenStates]:
        """Return the token directions of each text, for late interaction."""
        encoded = self._encode(texts, on_progress=on_progress)
        return list(map(TokenStates, encoded.pooled, encoded.tokens, encoded.ids))

    def cut_windows(self, texts: Sequence[str]) -> list[Windows]:
        """Cut texts into overlapping windows that the model can read whole."""
        return cut_windows(texts, self.splitting_tokenizer, self.max_tokens)

    def word_tokens(self, words: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the ids of the tokens of each word, without special tokens."""
        encodings = self.splitting_tokenizer.encode_batch(words, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def _encode(
        self,
        texts: Sequence[str],
        want: Want = Want.POOLED | Want.TOKENS,
        *,
        role: Role = Role.DOCUMENT,
        on_progress: Callable[[int], None] | None = None,
    ) -> Encoded:
        """Run the model: everything above is made of this."""
        return self._encoder.encode(texts, want, role=role, on_progress=on_progress)


def _embeddings(
    vectors: NDArray[np.int16], codes: NDArray[np.uint8], ids: Sequence[NDArray[np.int32]]
) -> DocumentEmbeddings:
    counts = np.array([len(row) for row in ids], np.int32)
    return DocumentEmbeddings(vectors, codes, counts, [np.unique(row) for row in ids])


def code_version(model: str) -> str:
    """Name what the bits of a model's codes depend on, 12 hexadecimal digits, without loading the model.

    Raises
    ------
    ModelError
        The model is unknown, or has no slots.
    """
    entry = models.lookup(model)
    parts = (entry.artifact_blake3 or "", load_slot_artifact(entry.name).digest.hex(), CODE_FORMAT)
    return blake3("\n".join(parts).encode()).hexdigest(length=6)


_loaded: dict[tuple[str, Path | None, Path | None, int | None], ZenEncoder] = {}
_loading = threading.Lock()


def load_encoder(
    model: str = "all-MiniLM-L6-v2",
    *,
    folder: Path | None = None,
    slots: Path | None = None,
    threads: int | None = None,
    on_progress: models.OnProgress = models.silent,
) -> ZenEncoder:
    """Load a model of the catalogue, fetching it on first use; the same arguments give the same object.

    Parameters
    ----------
    model : str
        Name or id in the catalogue.
    folder : Path, optional
        A folder that holds the model's files already.
    slots : Path, optional
        An artifact that ``zenso train`` wrote, to be used instead of the shipped one.
    threads : int, optional
        The number of processors by default.

    Raises
    ------
    ModelError
        The model is unknown or cannot be fetched.
    IntegrityError
        A file is not what the catalogue says, or ``slots`` is damaged.
    InputError
        ``slots`` cannot be read, or is of another model.
    """
    entry = models.lookup(model)
    key = (entry.name, folder, slots, threads)
    with _loading:
        if key not in _loaded:
            artifact = models.load_artifact(entry, folder=folder, on_progress=on_progress)
            given = None if slots is None else read_slot_file(slots, len(artifact.words))
            _loaded[key] = ZenEncoder(entry.name, CanonicalEncoder(artifact, threads=threads), given)
        return _loaded[key]
