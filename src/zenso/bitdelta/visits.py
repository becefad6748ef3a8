"""Who is visited when: plans of visits, and what a codebook has without training."""

from math import isqrt
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.bitdelta.trellis import MAX_PASS_WEIGHT

UNIT_BITS = 24  # of steps: 2^24 is the length of what is left after the base row
ROTATION_BITS = 15


class VisitPlan:
    """Gathers visits, passes and blocks."""

    def __init__(self, width: int) -> None:
        self.counts = np.zeros(width, np.int64)  # visits of each coordinate so far
        self.blocks: list[int] = []
        self._visits: list[NDArray[np.int64]] = []
        self._tables: list[int] = []

    def add(
        self, dims: NDArray[np.integer], steps: NDArray[np.number], importance: NDArray[np.number]
    ) -> NDArray[np.int64]:
        """Add a pass, and return it as the kernel takes it: int64 (3, m), dimensions, steps and weights."""
        share = importance / importance.sum()
        weights = 1 + np.floor(share * (MAX_PASS_WEIGHT - len(dims)))
        visits: NDArray[np.int64] = np.stack([dims, np.maximum(np.rint(steps), 1), weights]).astype(np.int64)
        self._visits.append(visits)
        self.counts[dims] += 1
        return visits

    def end_block(self, table: int) -> None:
        """Say that a code may end here, and which table the passes since the last block use."""
        self._tables.append(table)
        self.blocks.append(len(self._visits) - sum(self.blocks))

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return the tables of a codebook, but for rotation and bases."""
        dims, steps, weights = np.concatenate(self._visits, axis=1)
        return {
            "dims": dims.astype(np.uint16),
            "steps": steps.astype(np.int32),
            "weights": weights.astype(np.uint16),
            "passes": np.array([visits.shape[1] for visits in self._visits], np.uint32),
            "blocks": np.array(self.blocks, np.uint32),
            "tables": np.array(self._tables, np.uint8),
        }


def spread(variances: NDArray[np.number]) -> list[NDArray[np.int64]]:
    """Give the bits of a block where the variance is (reverse water-filling); return who is visited in each pass.

    A block has one bit a dimension, filled up to whole bytes.

    Parameters
    ----------
    variances : shape (d,)
        What an unspent error costs, coordinate by coordinate; a bit leaves about .285 of it.
    """
    left = np.array(variances, np.float64)
    counts = np.zeros(len(left), np.int64)
    for _ in range(-(-len(left) // 8) * 8):
        top = int(left.argmax())
        counts[top] += 1
        left[top] *= 0.285
    return [np.flatnonzero(counts > number) for number in range(int(counts.max()))]


def mixing(width: int) -> NDArray[np.int16]:
    """Return an orthogonal matrix that spreads every coordinate over all: two Hadamard transforms with sign flips.

    The first transform takes the largest power of two of leading coordinates, the second as many trailing ones.
    """
    size = 1 << (width.bit_length() - 1)
    root = isqrt((1 << 60) // size)  # 2^30 / sqrt(size)
    matrix = np.eye(width, dtype=np.int64) << UNIT_BITS
    for number, start in enumerate((0, width - size)):
        stream = blake3(b"zenso bitdelta frame %d" % number).digest(length=-(-width // 8))
        signs = 1 - 2 * np.unpackbits(np.frombuffer(stream, np.uint8), count=width, bitorder="little").astype(np.int64)
        matrix *= signs
        # Rows have length 2^24, so sums stay below 2^24 * sqrt(size) and products below 2^55.
        part = _hadamard(matrix[:, start : start + size])
        matrix[:, start : start + size] = (part * root) >> 30
    shift = UNIT_BITS - ROTATION_BITS
    rounded: NDArray[np.int16] = np.clip((matrix.T + (1 << (shift - 1))) >> shift, -32767, 32767).astype(np.int16)
    return rounded


def _hadamard(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Multiply each row by Sylvester's matrix."""
    out = rows.copy()
    half = 1
    while half < rows.shape[1]:
        pairs = out.reshape(len(rows), -1, 2, half)
        out = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(rows.shape)
        half *= 2
    return out
