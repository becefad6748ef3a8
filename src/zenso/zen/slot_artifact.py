"""The small artifact that turns token states into slots, learned once and shipped.

A safetensors file per model in ``zen/data``, made by ``zenso train`` (docs/training.md):

============ =================== ====================================================================================
projection   int16 (128, hidden) of a ``SlotBasis``: orthogonal rows of length 16384
share        int32 (1,)          of a ``SlotBasis``
units        int32 (3, 2)        of a ``SlotBasis``
frequencies  int32 (vocabulary,) documents of the text it was made from that hold a token
documents    int32 (1,)          number of these documents
============ =================== ====================================================================================
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from zenso.bitdelta import SlotBasis
from zenso.errors import InputError, IntegrityError
from zenso.zen.frequencies import ShippedCounts, document_weights
from zenso.zen.shipped import read_shipped

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class SlotArtifact:
    """Basis of the codes and token counts of a model."""

    basis: SlotBasis
    shipped: ShippedCounts
    digest: bytes  # BLAKE3 of the file, 32 bytes

    @cached_property
    def token_weights(self) -> NDArray[np.int32]:
        """Weight of each token of the vocabulary in a document, 1 to 255."""
        return document_weights(self.shipped)


def load_slot_artifact(model: str) -> SlotArtifact:
    """Load the artifact that is shipped for a model of the catalogue.

    Raises
    ------
    ModelError
        None is shipped for this model.
    IntegrityError
        The file is damaged.
    """
    return read_slot_artifact(*read_shipped(DATA, model, "slots"))


def read_slot_file(path: Path, vocabulary: int) -> SlotArtifact:
    """Read an artifact that was trained for a model of so many tokens.

    Raises
    ------
    InputError
        It cannot be read, or is of another model.
    IntegrityError
        It is damaged, or something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); give a file that `zenso train` wrote"
        raise InputError(message) from error
    artifact = read_slot_artifact(data, str(path))
    if len(artifact.shipped.counts) != vocabulary:
        message = f"{path} is of a model with {len(artifact.shipped.counts):,} tokens, this one has {vocabulary:,}"
        raise InputError(message)
    return artifact


def read_slot_artifact(data: bytes, name: str) -> SlotArtifact:
    """Read the bytes of an artifact; ``name`` is what an error calls it.

    Raises
    ------
    IntegrityError
        They are damaged, or something else.
    """
    try:
        tensors = load(data)
        projection, share, units = tensors["projection"], tensors["share"], tensors["units"]
        frequencies, documents = tensors["frequencies"], tensors["documents"]
    except (SafetensorError, KeyError) as error:
        message = f"the slot artifact {name} is damaged ({error}); reinstall zenso"
        raise IntegrityError(message) from error
    if share.dtype != np.int32 or share.shape != (1,):
        message = f"the slot artifact {name} has a share {share.dtype} {share.shape}; reinstall zenso"
        raise IntegrityError(message)
    try:
        basis = SlotBasis(projection, int(share[0]), units)
    except InputError as error:
        message = f"the slot artifact {name} is damaged ({error}); reinstall zenso"
        raise IntegrityError(message) from error
    total = int(documents[0]) if documents.shape == (1,) and documents.dtype == np.int32 else 0
    sound = frequencies.dtype == np.int32 and frequencies.ndim == 1 and len(frequencies)
    if total < 1 or not sound or frequencies.min() < 0 or frequencies.max() > total:
        message = f"the slot artifact {name} has counts {frequencies.dtype} {frequencies.shape} of {total} documents"
        raise IntegrityError(f"{message}; reinstall zenso")
    return SlotArtifact(basis, ShippedCounts(total, frequencies.astype(np.int64)), blake3(data).digest())
