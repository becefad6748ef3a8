"""A model through an aligner: queries for documents of another model, which need not be there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zenso import models
from zenso.bitdelta import SLOT_WIDTH, SlotQuery
from zenso.canonical import (
    CanonicalEncoder,
    Encoded,
    ModelProvenance,
    Role,
    Want,
    kernel_digest,
    kernel_version,
    model_hash,
)
from zenso.errors import ModelError
from zenso.zen.aligner import Aligner, ModelFiles, load_aligner
from zenso.zen.embedding import QueryEmbedding
from zenso.zen.encoder import CODE_FORMAT, Provenance, ZenEncoder
from zenso.zen.frequencies import Lookup
from zenso.zen.pairs import word_directions
from zenso.zen.windows import Windows

_WHOLE_TEXT = np.zeros(1, np.int32)  # the id of [PAD], which no document holds


@dataclass(frozen=True)
class AlignedProvenance(Provenance):
    """Everything that the bits of an aligned embedding depend on; ``model`` is the one that was run."""

    aligner: str  # BLAKE3 of the aligner, hexadecimal
    aligned_to: ModelProvenance  # the model in whose space the embedding lies

    @property
    def native(self) -> bool:
        """Never."""
        return False

    @property
    def searched(self) -> Provenance:
        """Provenance of the documents that a query may be compared with: those of the other model."""
        return Provenance(self.aligned_to, self.slots, CODE_FORMAT)


class PooledQuery(QueryEmbedding):
    """A query of which only the pooled vector is known: slot 0 of a code scores, its groups count for nothing."""

    def prepare(self) -> SlotQuery:
        """Cut to bit planes, to score codes."""
        query = super().prepare()
        return replace(query, token_steps=np.zeros_like(query.token_steps))


class AlignedEncoder(ZenEncoder):
    """A model whose results are taken into the space of another one.

    Its queries may be compared with documents of the other model, which is not loaded. What it makes of documents lies
    near to what the other model would make, so its provenance is its own, and a memory does not store it.

    Parameters
    ----------
    source : str
        Name or id, in the catalogue, of the model that is run.
    to : str
        Name or id of the model whose documents are searched.
    aligner : Aligner, optional
        One of your own; by default the one that is shipped for the two.
    folder : Path, optional
        A folder that holds the source's files already.
    threads : int, optional
        The number of processors by default.

    Raises
    ------
    ModelError
        A model is unknown or cannot be fetched, or the aligner is none for these two.
    IntegrityError
        A file is not what its digest says.
    """

    def __init__(
        self,
        source: str,
        to: str = "all-MiniLM-L6-v2",
        *,
        aligner: Aligner | None = None,
        folder: Path | None = None,
        threads: int | None = None,
        on_progress: models.OnProgress = models.silent,
    ) -> None:
        entry, target = models.lookup(source), models.lookup(to)
        self.aligner = load_aligner(entry.name, target.name) if aligner is None else aligner
        artifact = models.load_artifact(entry, folder=folder, on_progress=on_progress)
        super().__init__(target.name, CanonicalEncoder(artifact, threads=threads))
        self.name = f"{entry.name} aligned to {target.name}"
        made, wanted = ModelFiles.of(self._encoder.provenance), self.aligner.source
        if made != wanted or target.model_id != self.aligner.target.model_id:
            message = (
                f"the aligner is from {wanted.model_id} to {self.aligner.target.model_id}, of the files that it was "
                f"trained with; asked for is {made.model_id} to {target.model_id}"
            )
            raise ModelError(message)
        self._target = target
        self._check_sizes()

    @cached_property
    def provenance(self) -> AlignedProvenance:
        """What the bits of this encoder's results depend on."""
        known = self.aligner.target
        aligned_to = ModelProvenance(
            model_id=known.model_id,
            model_hash=model_hash(known.model_id).hex(),
            weights=known.weights,
            tokenizer=known.tokenizer,
            artifact=self._target.artifact_blake3 or "",
            kernel=kernel_digest().hex(),
            version=kernel_version(),
        )
        slots = self._artifact.digest.hex()
        return AlignedProvenance(
            self._encoder.provenance, slots, f"{CODE_FORMAT} aligned", self.aligner.digest.hex(), aligned_to
        )

    def encode_query(self, text: str, frequencies: Lookup | None = None) -> QueryEmbedding:
        """Embed a query as the other model would; without a map for token states by its pooled vector alone.

        Parameters
        ----------
        text : str
        frequencies : callable, optional
            As `ZenEncoder.encode_query`; token ids are those of the other model.

        Raises
        ------
        InputError
            The text is not a string, or is empty.
        """
        query = super().encode_query(text, frequencies)
        if self.aligner.maps_tokens:
            return query
        return PooledQuery(**{one.name: getattr(query, one.name) for one in fields(query)})

    def _check_sizes(self) -> None:
        """Refuse maps that do not belong to models of these sizes, whatever they say of themselves."""
        artifact, ids = self._encoder.artifact, self.aligner.token_ids
        sizes = (self.aligner.pooled.inputs, self.aligner.pooled.outputs)
        strange = ids is not None and (
            len(ids) != len(artifact.words) or ids.max() >= len(self._artifact.token_weights)
        )
        if sizes != (artifact.hidden, SLOT_WIDTH) or strange:
            message = (
                f"the aligner maps {sizes[0]} to {sizes[1]} numbers, or token ids, of other models than {self.name}"
            )
            raise ModelError(message)

    def token_sets(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the distinct ids, in the other model, of the tokens that are read of each document, ascending."""
        if not self.aligner.maps_tokens:
            return [_WHOLE_TEXT] * len(texts)
        return [np.unique(self.aligner.align_ids(ids)) for ids in super().token_sets(texts)]

    def word_tokens(self, words: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the ids of the tokens of each word in the other model, or one that no document holds."""
        if not self.aligner.maps_tokens:
            return [_WHOLE_TEXT] * len(words)
        return [self.aligner.align_ids(ids) for ids in super().word_tokens(words)]

    def cut_windows(self, texts: Sequence[str]) -> list[Windows]:
        """Cut texts into windows that the source can read whole; the ids are those of the other model."""
        cut = super().cut_windows(texts)
        if not self.aligner.maps_tokens:
            return [replace(one, ids=np.empty(0, np.int32)) for one in cut]
        return [replace(one, ids=self.aligner.align_ids(one.ids)) for one in cut]

    def _encode(
        self,
        texts: Sequence[str],
        want: Want = Want.POOLED | Want.TOKENS,
        *,
        role: Role = Role.DOCUMENT,
        on_progress: Callable[[int], None] | None = None,
    ) -> Encoded:
        encoded = super()._encode(texts, want | Want.POOLED, role=role, on_progress=on_progress)
        pooled = self.aligner.align_vectors(encoded.pooled)
        if not self.aligner.maps_tokens:
            # The pooled vector stands for all tokens of the text.
            return replace(encoded, pooled=pooled, ids=[_WHOLE_TEXT] * len(texts), tokens=[row[None] for row in pooled])
        artifact = self._encoder.artifact
        return replace(
            encoded,
            pooled=pooled,
            ids=[self.aligner.align_ids(ids) for ids in encoded.ids],
            tokens=[
                self.aligner.align_tokens(tokens, word_directions(artifact, ids))
                for tokens, ids in zip(encoded.tokens, encoded.ids, strict=False)  # none where none were wanted
            ],
        )
