"""The codec as a PyTorch module: groups and signs are those of the integer code, gradients go straight through them.

The forward pass scores what ``bitdelta`` would score, but for the bit planes of queries. Signs have no gradient, so the
backward pass takes each for its group's centre, cut where it is far from the threshold (a straight-through estimator;
Bengio, Leonard and Courville, 2013; Hubara and others, 2016).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zenso.bitdelta import DIMENSIONS, SlotBasis, slot_bits
from zenso.bitdelta.basis import LARGEST_UNIT, PROJECTION_UNIT
from zenso.bitdelta.format import GROUP_WIDTH, GROUPS, code_bytes, group_room
from zenso.bitdelta.grouping import group_tokens
from zenso.bitdelta.rotation import rotate_back
from zenso.bitdelta.slots import project

_DIRECTION = 32767.0
# What a projected token of length 1 is in integers, over the square of a direction: takes units to cosines.
_GROUP_SCALE = PROJECTION_UNIT / _DIRECTION**2
_SLOT_SCALE = 1 / _DIRECTION
_ROOMS = tuple(group_room(code_bytes(dimensions)) for dimensions in DIMENSIONS)


@dataclass(frozen=True)
class Tokens:
    """Tokens of n texts, one text after the other."""

    directions: Tensor  # float32 (m, 384), unit
    weights: Tensor  # float32 (m,)
    sizes: NDArray[np.int64]  # (n,)
    pooled: Tensor  # float32 (n, 384), unit

    def text_of_token(self) -> Tensor:
        """Which text each token is of, int64 (m,)."""
        return torch.repeat_interleave(torch.from_numpy(self.sizes))

    def sum_by_text(self, values: Tensor) -> Tensor:
        """Sum values (m, ...) over each text's tokens, by weight, over the sum of weights: (n, ...)."""
        shape = (-1,) + (1,) * (values.dim() - 1)
        weighed = values * self.weights.reshape(shape)
        total = torch.zeros((len(self.sizes), *values.shape[1:])).index_add(0, self.text_of_token(), weighed)
        mass = torch.zeros(len(self.sizes)).index_add(0, self.text_of_token(), self.weights)
        return total / mass.clamp(min=1e-9).reshape(shape)


@dataclass(frozen=True)
class Coded:
    """Codes of n documents."""

    slots: Tensor  # float32 (n, 384): what slot 0 decodes to, in units of 1 / 32767
    centres: Tensor  # float32 (n, 57, 128): mean of each group's tokens, before their signs are taken
    signs: Tensor  # float32 (n, 57, 128): 1 and -1, with the gradient of the centres
    used: Tensor  # bool (n, 57)


class SlotModel(nn.Module):
    """Learns a ``SlotBasis``: the projection, kept orthogonal, and the units; the share stays as it was."""

    def __init__(self, basis: SlotBasis) -> None:
        super().__init__()
        self.share = basis.share
        self.projection = nn.Parameter(torch.from_numpy(basis.projection.astype(np.float32) / PROJECTION_UNIT))
        self.log_units = nn.Parameter(torch.from_numpy(np.log(basis.units.astype(np.float32))))

    @torch.no_grad()
    def retract(self) -> None:
        """Make the rows of the projection orthonormal again: the nearest such matrix (polar decomposition)."""
        left, _, right = torch.linalg.svd(self.projection.double(), full_matrices=False)
        self.projection.copy_(left @ right)

    def basis(self) -> SlotBasis:
        """Round to integers."""
        with torch.no_grad():
            projection = np.rint(self.projection.double().numpy() * PROJECTION_UNIT).astype(np.int16)
            units = np.rint(self.log_units.double().exp().numpy()).clip(1, LARGEST_UNIT).astype(np.int32)
        return SlotBasis(projection, self.share, units)

    def encode(self, documents: Tokens) -> Coded:
        """Code documents as ``bitdelta.encode_slots`` does."""
        pooled = np.rint(documents.pooled.numpy() * _DIRECTION).astype(np.int64)
        signs = 2 * np.unpackbits(slot_bits(pooled), axis=1, bitorder="little").astype(np.int64) - 1
        slots = rotate_back(signs)
        bases = (self.share * slots).astype(np.int16)
        groups = self._groups(documents, bases)
        of_token = documents.text_of_token()
        directions = documents.directions - torch.from_numpy(bases.astype(np.float32) / _DIRECTION)[of_token]
        projected = directions @ self.projection.T
        with torch.no_grad():
            place = _nearest_groups(projected, groups, documents.sizes) + GROUPS * of_token
        count = len(documents.sizes) * GROUPS
        weighed = projected * documents.weights[:, None]
        sums = torch.zeros((count, GROUP_WIDTH)).index_add(0, place, weighed)
        mass = torch.zeros(count).index_add(0, place, documents.weights)
        centres = (sums / mass.clamp(min=1e-9)[:, None]).reshape(-1, GROUPS, GROUP_WIDTH)
        spread = centres.detach().abs().sum() / max(1, int((mass > 0).sum()) * GROUP_WIDTH)
        soft = (centres / (2 * spread)).clamp(-1, 1)
        hard = torch.zeros_like(centres)
        used = torch.zeros(hard.shape[:2], dtype=torch.bool)
        for row, found in enumerate(groups):
            hard[row, : len(found)] = found
            used[row, : len(found)] = True
        return Coded(torch.from_numpy(slots.astype(np.float32)), centres, hard + soft - soft.detach(), used)

    def _groups(self, documents: Tokens, bases: NDArray[np.int16]) -> list[Tensor]:
        """Group each document's tokens with the integers that would be stored."""
        projection = self.basis().projection
        tokens = np.rint(documents.directions.numpy() * _DIRECTION).astype(np.int16)
        weights = documents.weights.numpy().astype(np.int64)
        cuts = np.cumsum(documents.sizes)[:-1]
        found = []
        for part, heavy, base in zip(np.split(tokens, cuts), np.split(weights, cuts), bases, strict=True):
            signs, _ = group_tokens(project(part, base, projection), heavy, GROUPS)
            found.append(torch.from_numpy(signs.astype(np.float32)))
        return found

    def scores(self, queries: Tokens, coded: Coded, signs: Tensor | None = None) -> Tensor:
        """Score documents for queries at each of the dimensions: (3, queries, documents), about mean cosines.

        ``signs`` stand in for those of the codes, such as noisy ones.
        """
        signs = coded.signs if signs is None else signs
        units = self.log_units.exp()
        slot = queries.sum_by_text(queries.directions) @ coded.slots.T * _SLOT_SCALE
        dots = (queries.directions @ self.projection.T) @ signs.reshape(-1, GROUP_WIDTH).T
        dots = dots.reshape(len(dots), *coded.used.shape).masked_fill(~coded.used, -torch.inf)
        some = coded.used.any(dim=1)
        best = torch.full(dots.shape[:2], -torch.inf)
        found, first = [], 0
        for row, room in enumerate(_ROOMS):
            best = torch.maximum(best, dots[:, :, first:room].amax(dim=2))
            group = queries.sum_by_text(torch.where(some, best, 0.0)) * _GROUP_SCALE
            found.append(units[row, 0] * slot + units[row, 1] * group)
            first = room
        return torch.stack(found)


def _nearest_groups(projected: Tensor, groups: list[Tensor], sizes: NDArray[np.int64]) -> Tensor:
    """Return which of its text's groups each token belongs to, int64 (m,)."""
    parts = zip(torch.split(projected, sizes.tolist()), groups, strict=True)
    return torch.cat([(part @ found.T).argmax(dim=1) if len(found) else _none(len(part)) for part, found in parts])


def _none(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


@torch.no_grad()
def late_interaction(queries: Tokens, documents: Tokens, pooled_share: float) -> Tensor:
    """Score documents for queries by all of their tokens, mixed with the pooled cosine: (queries, documents).

    This is what codes are to reproduce.
    """
    cosines = queries.directions @ documents.directions.T
    best = torch.stack([part.amax(dim=1) for part in torch.split(cosines, documents.sizes.tolist(), dim=1)], dim=1)
    return (1 - pooled_share) * queries.sum_by_text(best) + pooled_share * queries.pooled @ documents.pooled.T
