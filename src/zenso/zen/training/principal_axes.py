"""Where training starts: the principal axes of what codes have to say about tokens beyond slot 0."""

from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.bitdelta import SlotBasis, slot_bits
from zenso.bitdelta.basis import PROJECTION_UNIT
from zenso.bitdelta.format import GROUP_WIDTH, SLOT_WIDTH
from zenso.bitdelta.slots import slot_base
from zenso.zen.training.corpus import Corpus

Float64 = NDArray[np.float64]
# Good for held-out questions of SQuAD and of NLI alike: docs/training.md.
_FIRST_UNITS = ((53, 2300), (53, 4800), (53, 7200))


def _covariance(corpus: Corpus, share: int) -> Float64:
    """Sum over tokens of weight times outer product of the difference from the base."""
    states, weights = corpus.documents, corpus.document_weights
    total = np.zeros((SLOT_WIDTH, SLOT_WIDTH))
    for row in np.flatnonzero(~corpus.data.held_out).tolist():
        span = states.span(row)
        base = slot_base(slot_bits(states.pooled[row : row + 1])[0], share)
        differences = states.tokens[span].astype(np.float64) - base
        total += differences.T @ (differences * weights[states.ids[span], None])
    return total


def _turn(width: int) -> Float64:
    """Return a fixed rotation: a Sylvester matrix after sign flips."""
    matrix = np.ones((1, 1))
    while len(matrix) < width:
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]]))
    stream = blake3(b"zenso bitdelta projection 1").digest(length=width // 8)
    flips = 1.0 - 2.0 * np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
    turned: Float64 = matrix * flips / np.sqrt(width)
    return turned


def principal_basis(corpora: Sequence[Corpus], share: int) -> SlotBasis:
    """Project to the 128 largest principal axes, turned so that every number carries as much as any other.

    Only documents that are not held out are read.
    """
    total = sum((_covariance(corpus, share) for corpus in corpora), np.zeros((SLOT_WIDTH, SLOT_WIDTH)))
    axes = np.linalg.eigh(total)[1]
    kept = axes[:, : -GROUP_WIDTH - 1 : -1].T
    kept = kept * np.sign(kept[np.arange(GROUP_WIDTH), np.abs(kept).argmax(axis=1)])[:, None]
    projection = np.rint(_turn(GROUP_WIDTH) @ kept * PROJECTION_UNIT).astype(np.int16)
    return SlotBasis(projection, share, np.array(_FIRST_UNITS, np.int32))
