"""Dense Zen vectors: 384, 1,920, 3,840 or 7,680 numbers of which a plain dot product follows late interaction.

20 slots of 384 numbers. Slot 0 is the pooled vector. The other 19 are a fixed rotation of 19 sums of token directions:
token space is parted into cells, and a cell's sum is that of the tokens which are nearest to its centre, each by its
weight (compare MUVERA's fixed-dimensional encodings, Dhulipala et al. 2024). The two sides differ:

- of a document each cell counts alike, as a direction, and a cell without tokens takes the text's nearest token;
- of a query the sums stay as they are, so that each of its tokens counts once, by its weight.

So the dot product adds up, for each token of the query, how near the document's tokens of the same cell are. Where
nobody says what is a query, two documents may be compared as well.

The rotation puts into the first slots what texts differ by most (principal axes over the cells, the same for each of
the 384 numbers). It changes no dot product of whole vectors, and it makes the first 5 and 10 slots good ones.

Everything is integer: a text has the same numbers on every machine.
"""

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from zenso.canonical import Role
from zenso.errors import InputError, IntegrityError, ModelError
from zenso.zen.integer_map import directions

DENSE_DIMENSIONS = (384, 1920, 3840, 7680)
DENSE_FORMAT = "dense/1"
DATA = Path(__file__).parent / "data" / "dense"
SCALE = 32767
_WIDTH = 384
CELLS = DENSE_DIMENSIONS[-1] // _WIDTH - 1
SHARE_UNIT = 256
ROTATION_UNIT = 1 << 14


@dataclass(frozen=True)
class DenseEmbeddings:
    """Dense vectors of n texts."""

    vectors: NDArray[np.int16]  # (n, dimensions), scale 32767: unit vectors but for rounding
    token_counts: NDArray[np.int32]  # (n,): tokens read, special tokens included

    @property
    def floats(self) -> NDArray[np.float32]:
        """The vectors divided by 32767, float32 (n, dimensions): one rounded division, the same everywhere."""
        quotients: NDArray[np.float32] = self.vectors.astype(np.float32) / np.float32(SCALE)
        return quotients


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
    rotation : int16, shape (19, 19)
        Orthogonal, of scale 16384: slot j + 1 is the sum over cells i of ``rotation[i, j]`` times cell i.
    token_weights : uint8, shape (vocabulary,)
        Of each token in its cell, at least 1.
    pooled_shares : int32, shape (2,)
        Length of slot 0 of a document and of a query, in 1/256 of that of a document's cell and of a query's cells
        together.
    empty_share : int32, shape (1,)
        Length of a document's cell that has no token, in 1/256.
    digest : bytes
        BLAKE3 of the file, 32 bytes.
    """

    cells: NDArray[np.int16]
    rotation: NDArray[np.int16]
    token_weights: NDArray[np.uint8]
    pooled_shares: NDArray[np.int32]
    empty_share: NDArray[np.int32]
    digest: bytes

    def embed(
        self, pooled: NDArray[np.int16], tokens: NDArray[np.int16], ids: NDArray[np.int32], dimensions: int, role: Role
    ) -> NDArray[np.int16]:
        """Return the dense vector of a text.

        Parameters
        ----------
        pooled : int16, shape (384,)
            Canonical pooled vector, scale 32767.
        tokens : int16, shape (m, 384)
            Unit token states, scale 32767; m is 1 to 256.
        ids : int32, shape (m,)
        dimensions : int
            Of `DENSE_DIMENSIONS`.

        Returns
        -------
        int16, shape (dimensions,)
            A unit vector of scale 32767.
        """
        if dimensions == _WIDTH:
            return pooled
        sums, nearest = _gather(np.ascontiguousarray(tokens), self.token_weights[ids], self.cells)
        if role is Role.QUERY:
            parts = directions(sums.reshape(1, -1)).reshape(sums.shape).astype(np.int64) * SHARE_UNIT
        else:
            empty = nearest >= 0
            parts = directions(sums).astype(np.int64) * SHARE_UNIT
            parts[empty] = tokens[nearest[empty]].astype(np.int64) * int(self.empty_share[0])
        # A cell is below 2^23 and a row of the rotation has length 2^14: every number stays below 2^42.
        rotated = self.rotation.T[: dimensions // _WIDTH - 1].astype(np.int64) @ parts
        share = int(self.pooled_shares[int(role is Role.QUERY)])
        first = pooled.astype(np.int64) * (share * ROTATION_UNIT)
        whole: NDArray[np.int16] = directions(np.concatenate([first[None], rotated]).reshape(1, -1))[0]
        return whole


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _gather(
    tokens: NDArray[np.int16], weights: NDArray[np.uint8], cells: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum the tokens of each cell: int64 (cells, width); and the token nearest to each empty one, -1 for the others."""
    sums = np.zeros(cells.shape, np.int64)
    filled = np.zeros(len(cells), np.bool_)
    nearest = np.zeros(len(cells), np.int64)
    largest = np.full(len(cells), np.iinfo(np.int32).min, np.int32)
    for t in range(len(tokens)):
        best, best_dot = 0, np.int32(np.iinfo(np.int32).min)
        for c in range(len(cells)):
            dot = np.int32(0)  # of two directions of length 32767: below 2^31, whatever the order
            for i in range(cells.shape[1]):
                dot += np.int32(tokens[t, i]) * np.int32(cells[c, i])
            if dot > best_dot:
                best, best_dot = c, dot
            if dot > largest[c]:
                nearest[c], largest[c] = t, dot
        filled[best] = True
        for i in range(cells.shape[1]):
            sums[best, i] += np.int64(weights[t]) * np.int64(tokens[t, i])
    nearest[filled] = -1
    return sums, nearest


def load_dense_slots(model: str) -> DenseSlots:
    """Load what is shipped for a model of the catalogue.

    Raises
    ------
    ModelError
        Nothing is shipped for this model.
    IntegrityError
        The file is damaged.
    """
    path = DATA / f"{model}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        known = sorted(p.stem for p in DATA.glob("*.safetensors"))
        message = f"no dense slots are shipped for the model {model!r}; there are for {', '.join(known)}"
        raise ModelError(message) from error
    return read_dense_slots(data, str(path))


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
        "cells": (np.int16, (CELLS, _WIDTH)),
        "rotation": (np.int16, (CELLS, CELLS)),
        "token_weights": (np.uint8, (len(slots.token_weights),)),
        "pooled_shares": (np.int32, (2,)),
        "empty_share": (np.int32, (1,)),
    }
    for key, (dtype, shape) in expected.items():
        array = tensors[key]
        if array.dtype != dtype or array.shape != shape:
            raise IntegrityError(f"the dense slots {name} have {key} {array.dtype} {array.shape}; reinstall zenso")
    return slots
