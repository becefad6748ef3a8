"""The expansion head, for models that give one vector: hidden -> 6144 -> GELU -> LayerNorm -> 7680 -> LayerNorm -> L2.

It is trained in the same three stages: (1) the similarities of the pooled space, in each of its prefixes; (2) pairs
that belong together against all others of a batch; (3) signs, noisy reports of them, and dimensions that differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from zenso.bitdelta import DIMENSIONS
from zenso.errors import IntegrityError
from zenso.zen.training.losses import BITDELTA, BYZANTINE, DIVERSITY, noisy_median
from zenso.zen.training.run import Measured, Settings, StageRun

INNER = 6144
_TEMPERATURE = 0.05
_SIGN_SLOPE = 2.0  # where the gradient of a sign is cut, in mean sizes of a number


class ExpansionHead(nn.Module):
    """Expand vectors of any width.

    Parameters
    ----------
    hidden : int
        Width of the model's vectors.
    inner : int
        Width between the two layers.
    dimensions : sequence of int
        Prefixes that are embeddings of their own, ascending; the last is the whole.
    """

    def __init__(self, hidden: int, inner: int = INNER, dimensions: Sequence[int] = DIMENSIONS) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        self.expand = nn.Sequential(nn.Linear(hidden, inner), nn.GELU(), nn.LayerNorm(inner))
        self.project = nn.Sequential(nn.Linear(inner, self.dimensions[-1]), nn.LayerNorm(self.dimensions[-1]))

    def forward(self, vectors: Tensor) -> Tensor:
        """Expand (n, hidden), of any length, to unit vectors (n, dimensions)."""
        # Layers are initialised for numbers of size 1.
        spread = normalize(vectors, dim=-1) * vectors.shape[-1] ** 0.5
        return normalize(self.project(self.expand(spread)), dim=-1)

    def to_bytes(self) -> bytes:
        """Write the weights as safetensors."""
        return save(self.state_dict(), {"dimensions": " ".join(map(str, self.dimensions))})

    @classmethod
    def from_bytes(cls, data: bytes, dimensions: Sequence[int] = DIMENSIONS) -> "ExpansionHead":
        """Read weights; the widths follow from them.

        Raises
        ------
        IntegrityError
            They are no head's, or a head of other dimensions.
        """
        try:
            state = load(data)
            inner, hidden = state["expand.0.weight"].shape
            head = cls(hidden, inner, dimensions)
            head.load_state_dict(state)
        except Exception as error:
            message = f"these are no weights of a head of {dimensions[-1]} dimensions ({error})"
            raise IntegrityError(message) from error
        return head


@dataclass(frozen=True)
class Pairs:
    """Vectors float32 (n, hidden) and (m, hidden) of queries and documents, and which document answers each query."""

    queries: NDArray[np.float32]
    documents: NDArray[np.float32]
    positives: NDArray[np.int64]  # (n,)
    negatives: NDArray[np.int64]  # (n, any number): hard ones

    def take(self, rows: NDArray[np.int64]) -> "Pairs":
        """Return the pairs in some rows."""
        return Pairs(self.queries[rows], self.documents, self.positives[rows], self.negatives[rows])


def _signs(vectors: Tensor) -> Tensor:
    """Take signs, with the gradient of the vectors where they are small."""
    soft = (vectors / (_SIGN_SLOPE * vectors.detach().abs().mean())).clamp(-1, 1)
    return torch.where(vectors > 0, 1.0, -1.0) + soft - soft.detach()


class HeadTraining(StageRun):
    """A stage of a head, on pairs for training and others for validation."""

    def __init__(
        self, head: ExpansionHead, training: Pairs, validation: Pairs, settings: Settings, identity: str, folder: Path
    ) -> None:
        self.head, self._training, self._validation = head, training, validation
        super().__init__(head, [{"params": list(head.parameters())}], settings, {"data": identity}, folder)

    def losses(self) -> dict[str, Tensor]:
        """Draw pairs, and return the parts of the stage's loss."""
        size = min(self.settings.queries, len(self._training.queries))
        batch = self._training.take(self.draw.choice(len(self._training.queries), size, replace=False))
        chosen = self.draw.integers(batch.negatives.shape[1], size=size)
        rows = np.concatenate([batch.positives, batch.negatives[np.arange(size), chosen]])
        queries, documents = torch.from_numpy(batch.queries), torch.from_numpy(batch.documents[rows])
        expanded, found = self.head(queries), self.head(documents)
        target = normalize(queries, dim=1) @ normalize(documents, dim=1).T
        if self.settings.stage == 1:
            return {"similarity": self._similarity(expanded, found, target)}
        if self.settings.stage == 2:
            answers = torch.from_numpy(batch.positives[:, None] == rows[None])
            return {
                "contrastive": self._contrastive(expanded, found, answers),
                "similarity": self._similarity(expanded, found, target),
            }
        signs = _signs(found)
        noisy = noisy_median(signs, self.noise)
        return {
            "BitDelta": BITDELTA * self._similarity(expanded, signs, target),
            "Byzantine noise": BYZANTINE * self._similarity(expanded, noisy, target),
            "diversity": DIVERSITY * _redundancy(found),
        }

    def _prefixes(self, queries: Tensor, documents: Tensor) -> list[Tensor]:
        sizes = self.head.dimensions
        return [normalize(queries[:, :n], dim=1) @ normalize(documents[:, :n], dim=1).T for n in sizes]

    def _similarity(self, queries: Tensor, documents: Tensor, target: Tensor) -> Tensor:
        """Squared error of each prefix's cosines, in units of the target's variance."""
        errors = [mse_loss(found, target) for found in self._prefixes(queries, documents)]
        return torch.stack(errors).mean() / target.var()

    def _contrastive(self, queries: Tensor, documents: Tensor, answers: Tensor) -> Tensor:
        own = torch.arange(len(queries))
        others = answers.clone()
        others[own, own] = False  # a query's own document stands at its own place
        logits = [
            (found / _TEMPERATURE).masked_fill(others, -torch.inf) for found in self._prefixes(queries, documents)
        ]
        return torch.stack([cross_entropy(found, own) for found in logits]).mean()

    @torch.no_grad()
    def measure(self) -> Measured:
        """Mean reciprocal rank of the document that answers, and of 1-bit codes of documents."""
        data = self._validation
        queries = self.head(torch.from_numpy(data.queries))
        documents = torch.cat([self.head(part) for part in torch.split(torch.from_numpy(data.documents), 512)])
        positives = torch.from_numpy(data.positives)
        found: Measured = {"float": {}, "one bit": {}}
        for name, kept in (("float", documents), ("one bit", _signs(documents))):
            for size, scores in zip(self.head.dimensions, self._prefixes(queries, kept), strict=True):
                own = scores.gather(1, positives[:, None])
                found[name][size] = float((1 / (1 + (scores > own).sum(dim=1))).mean())
        return found

    @torch.no_grad()
    def kept_similarity(self) -> dict[int, float]:
        """Correlation of validation similarities in the expanded and in the given space, by dimensions."""
        queries, documents = (
            torch.from_numpy(self._validation.queries),
            torch.from_numpy(self._validation.documents[:512]),
        )
        target = normalize(queries, dim=1) @ normalize(documents, dim=1).T
        found = self._prefixes(self.head(queries), self.head(documents))
        return {
            size: float(torch.corrcoef(torch.stack([scores.flatten(), target.flatten()]))[0, 1])
            for size, scores in zip(self.head.dimensions, found, strict=True)
        }


def _redundancy(vectors: Tensor) -> Tensor:
    """Mean squared correlation of the halves' dimensions over a batch: what one tells of the other."""
    centred = normalize(vectors - vectors.mean(dim=0), dim=0)
    first, second = centred.chunk(2, dim=1)
    return (first.T @ second).square().mean()
