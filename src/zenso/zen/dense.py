"""Dense Zen vectors: 384, 1,920, 3,840 or 7,680 numbers of which a plain dot product follows late interaction.

20 slots of 384 numbers. Slot 0 is the pooled vector. The other 19 come from 19 cells, in which the tokens are gathered
that are nearest to each of 19 fixed directions (compare MUVERA's fixed-dimensional encodings, Dhulipala et al. 2024):

- of a document a cell is the direction of its tokens' weighted sum, times the eighth root of its share of the weights,
  so that large cells count little more than small ones. A cell without tokens takes half of the text's nearest token;
- of a query the cells are the weighted sums themselves, so that each token counts once, by its weight.

The dot product then adds up, for the tokens of the query, how near the document's tokens of the same cell are. Where
nobody says which text is a query, documents may be compared with each other.

Last, a rotation over the cells and one over the 384 numbers of each turn what texts differ by most into the first
numbers (principal axes, kept in the order of their variance). It changes no dot product of whole vectors, but makes
the first 1,920 and 3,840 numbers good vectors of their own; those are scaled to length 1 again.

Everything is integer: a text has the same numbers on every machine.
"""

from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numba
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from zenso.canonical import Role
from zenso.errors import InputError, IntegrityError
from zenso.zen.integer_map import directions
from zenso.zen.shipped import read_shipped

DENSE_DIMENSIONS = (384, 1920, 3840, 7680)
DENSE_FORMAT = "dense/1"
SCALE = 32767
WIDTH = 384
CELLS = DENSE_DIMENSIONS[-1] // WIDTH - 1
ROTATION_BITS = 14  # fraction bits of a rotation
SHARE_BITS = 8  # of a share of slot 0
CELL_BITS = 10  # of what a cell counts

_LOWEST = np.int64(-(1 << 32))  # below the dot product of any two directions
_DATA = Path(__file__).parent / "data" / "dense"


@dataclass(frozen=True)
class DenseEmbeddings:
    """Dense vectors of n texts."""

    vectors: NDArray[np.int16]  # (n, dimensions), scale 32767: unit vectors but for rounding
    token_counts: NDArray[np.int32]  # (n,): tokens read, special tokens included

    @property
    def floats(self) -> NDArray[np.float32]:
        """The vectors over 32767, float32 (n, dimensions): one correctly rounded division, so the same everywhere."""
        quotients: NDArray[np.float32] = self.vectors.astype(np.float32) / np.float32(SCALE)
        return quotients


def cut_dense(vectors: NDArray[np.int16], dimensions: int) -> NDArray[np.int16]:
    """Keep the first numbers of dense vectors, scaled to length 1 again: what encoding at that size gives, to the bit.

    Parameters
    ----------
    vectors : int16, shape (n, at least dimensions)
        Dense vectors of 1,920, 3,840 or 7,680 numbers.
    dimensions : int
        1,920, 3,840 or 7,680. The first 384 numbers are the canonical pooled vector but for rounding.

    Raises
    ------
    InputError
        There are no vectors of so many dimensions, or the given ones are shorter.
    """
    check_dimensions(dimensions)
    width = vectors.shape[-1]
    if dimensions == WIDTH or width not in DENSE_DIMENSIONS or width < dimensions:
        message = f"vectors of {width} dimensions cannot be cut to {dimensions}; encode the text with that size"
        raise InputError(message)
    return vectors if width == dimensions else directions(vectors[:, :dimensions].astype(np.int64))


def check_dimensions(dimensions: int) -> None:
    """Refuse a size that dense vectors do not have.

    Raises
    ------
    InputError
    """
    if isinstance(dimensions, bool) or dimensions not in DENSE_DIMENSIONS:
        sizes = ", ".join(map(str, DENSE_DIMENSIONS))
        raise InputError(f"dimensions is {dimensions!r}; dense vectors have {sizes}")


@dataclass(frozen=True)
class DenseSlots:
    """What turns token states into dense vectors; learned once, and shipped as ``zen/data/dense/MODEL.safetensors``.

    Parameters
    ----------
    cells : int16, shape (19, 384)
        Unit directions of scale 32767; a token belongs to the nearest, of equals to the first.
    token_weights : uint8, shape (vocabulary,)
        Of each token in its cell, at least 1.
    cell_axes : int16, shape (19, 19)
        Orthogonal columns of length 16384: the rotation over cells.
    axes : int16, shape (384, 384)
        Orthogonal columns of length 16384: the rotation over the numbers of a cell.
    order : int16, shape (7296,)
        Places of the rotated numbers, row by row, in the order in which they stand after slot 0.
    pooled_shares : int32, shape (2,)
        What slot 0 of a document and of a query is multiplied with, 0 to 1023 in units of 1/256.
    digest : bytes
        BLAKE3 of the file, 32 bytes.
    """

    cells: NDArray[np.int16]
    token_weights: NDArray[np.uint8]
    cell_axes: NDArray[np.int16]
    axes: NDArray[np.int16]
    order: NDArray[np.int16]
    pooled_shares: NDArray[np.int32]
    digest: bytes

    def embed(
        self, pooled: NDArray[np.int16], tokens: NDArray[np.int16], ids: NDArray[np.int32], role: Role
    ) -> NDArray[np.int16]:
        """Return the dense vector of a text, whole.

        Parameters
        ----------
        pooled : int16, shape (384,)
            Canonical pooled vector, scale 32767.
        tokens : int16, shape (m, 384)
            Unit token states, scale 32767; m is 1 to 256.
        ids : int32, shape (m,)
        role : Role

        Returns
        -------
        int16, shape (7680,)
            A unit vector of scale 32767.
        """
        # All cells together are shorter than 2^28, and a rotation does not make them longer but for its unit.
        cells = self.gather(tokens, ids, role)
        rotated = _multiply((self.cell_axes.T.astype(np.int64) @ cells) >> ROTATION_BITS, self.axes)
        share = int(self.pooled_shares[int(role is Role.QUERY)])
        first = pooled.astype(np.int64) * (share << ROTATION_BITS + CELL_BITS - SHARE_BITS)
        vector: NDArray[np.int16] = directions(np.concatenate([first, rotated.reshape(-1)[self.order]])[None])[0]
        return vector

    def gather(self, tokens: NDArray[np.int16], ids: NDArray[np.int32], role: Role) -> NDArray[np.int64]:
        """Return the cells of a text before they are rotated: int64 (19, 384), a length of 1 being 32767 * 1024."""
        weights = self.token_weights[ids].astype(np.int64)
        sums, masses, nearest = _gather(np.ascontiguousarray(tokens), weights, self.cells)
        if role is Role.QUERY:
            return directions(sums.reshape(1, -1)).reshape(sums.shape).astype(np.int64) << CELL_BITS
        total = int(weights.sum())
        counts = [_eighth_root(mass, total) if mass else _eighth_root(1, len(ids)) // 2 for mass in masses.tolist()]
        parts = np.where((masses > 0)[:, None], directions(sums), tokens[nearest])
        counted: NDArray[np.int64] = parts.astype(np.int64) * np.array(counts)[:, None]
        return counted


def _eighth_root(part: int, whole: int) -> int:
    """Return the eighth root of a share in units of 1/1024, rounded down."""
    return isqrt(isqrt(isqrt((part << 8 * CELL_BITS) // whole)))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _gather(
    tokens: NDArray[np.int16], weights: NDArray[np.int64], cells: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sum tokens and weights of each cell, and find the token nearest to each: (cells, width), (cells,), (cells,)."""
    sums = np.zeros(cells.shape, np.int64)
    masses = np.zeros(len(cells), np.int64)
    nearest = np.zeros(len(cells), np.int64)
    largest = np.full(len(cells), _LOWEST)
    for t in range(len(tokens)):
        best, best_dot = 0, _LOWEST
        for c in range(len(cells)):
            dot = np.int32(0)  # of two directions of length 32767: below 2^31, and what wraps on the way comes back
            for i in range(cells.shape[1]):
                dot += np.int32(tokens[t, i]) * np.int32(cells[c, i])
            found = np.int64(dot)
            if found > best_dot:
                best, best_dot = c, found
            if found > largest[c]:
                nearest[c], largest[c] = t, found
        masses[best] += weights[t]
        for i in range(cells.shape[1]):
            sums[best, i] += weights[t] * np.int64(tokens[t, i])
    return sums, masses, nearest


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _multiply(rows: NDArray[np.int64], columns: NDArray[np.int16]) -> NDArray[np.int64]:
    out = np.zeros((rows.shape[0], columns.shape[1]), np.int64)
    for r in range(rows.shape[0]):
        for i in range(columns.shape[0]):
            for j in range(columns.shape[1]):
                out[r, j] += rows[r, i] * np.int64(columns[i, j])
    return out


def load_dense_slots(model: str) -> DenseSlots:
    """Load what is shipped for a model of the catalogue.

    Raises
    ------
    ModelError
        Nothing is shipped for this model.
    IntegrityError
        The file is damaged.
    """
    return read_dense_slots(*read_shipped(_DATA, model, "dense slots"))


def read_dense_slots(data: bytes, name: str) -> DenseSlots:
    """Read the bytes of a file; ``name`` is what an error calls it.

    Raises
    ------
    IntegrityError
        They are damaged, or something else.
    """
    try:
        tensors = load(data)
        slots = DenseSlots(**tensors, digest=blake3(data).digest())
    except (SafetensorError, TypeError) as error:
        raise IntegrityError(f"the dense slots {name} are damaged ({error}); reinstall zenso") from error
    expected = {
        "cells": (np.int16, (CELLS, WIDTH)),
        "token_weights": (np.uint8, (len(slots.token_weights),)),
        "cell_axes": (np.int16, (CELLS, CELLS)),
        "axes": (np.int16, (WIDTH, WIDTH)),
        "order": (np.int16, (CELLS * WIDTH,)),
        "pooled_shares": (np.int32, (2,)),
    }
    for key, (dtype, shape) in expected.items():
        array = tensors[key]
        if array.dtype != dtype or array.shape != shape:
            raise IntegrityError(f"the dense slots {name} have {key} {array.dtype} {array.shape}; reinstall zenso")
    each_once = np.array_equal(np.sort(slots.order), np.arange(CELLS * WIDTH))
    bounded = 0 <= slots.pooled_shares.min() <= slots.pooled_shares.max() < 1 << CELL_BITS
    if not (each_once and bounded and slots.token_weights.all()):
        raise IntegrityError(f"the dense slots {name} have an order, shares or weights that are none; reinstall zenso")
    return slots
