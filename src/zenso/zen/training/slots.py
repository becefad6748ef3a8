"""Train the slots of a model in three stages, and write what was learned as the integers that the codec runs on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor

from zenso.bitdelta import SlotBasis
from zenso.zen.frequencies import ShippedCounts
from zenso.zen.training.corpus import Corpus
from zenso.zen.training.losses import (
    BITDELTA,
    BYZANTINE,
    DIVERSITY,
    contrastive,
    distillation,
    diversity,
    noisy_median,
    one_bit,
)
from zenso.zen.training.model import SlotModel, late_interaction
from zenso.zen.training.run import Measured, Settings, StageRun

# Steps and learning rate of each stage, if nobody says otherwise.
SCHEDULE = {1: (100, 3e-4), 2: (100, 1e-4), 3: (100, 1e-4)}
# The teacher: late interaction with .15 of the pooled cosine, as the reranker.
POOLED_SHARE = 0.15
# Stage 2 stays near where it began.
KEPT = 10.0
_UNIT_FACTOR = 30  # logarithms of units learn faster than the projection


class SlotTraining(StageRun):
    """A stage over some corpora.

    1. Expansion: full late interaction of float token states is the teacher of what codes score.
    2. Contrastive: the document that answers against hard negatives; the teacher stays, and so does most of the start.
    3. DSO: BitDelta's one bit, noisy and malicious reports of codes, and groups that differ.

    Parameters
    ----------
    start : SlotBasis
    nearest : sequence of int64 (pairs, any number)
        For each corpus the documents that candidates of its pairs are drawn from: hard negatives.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        start: SlotBasis,
        nearest: Sequence[NDArray[np.int64]],
        settings: Settings,
        folder: Path,
    ) -> None:
        self._corpora, self._nearest = corpora, nearest
        self._slots = SlotModel(start)
        self._start = self._slots.projection.detach().clone()
        digest = blake3(start.projection.tobytes() + start.units.tobytes()).update(bytes([start.share])).hexdigest()
        groups: list[dict[str, Any]] = [
            {"params": [self._slots.projection]},
            {"params": [self._slots.log_units], "factor": _UNIT_FACTOR},
        ]
        identity = {"start": digest, "data": [corpus.data.name for corpus in corpora]}
        super().__init__(self._slots, groups, settings, identity, folder)

    @property
    def basis(self) -> SlotBasis:
        """What has been learned, in integers."""
        return self._slots.basis()

    def losses(self) -> dict[str, Tensor]:
        """Draw a batch of one corpus, and return the parts of the stage's loss."""
        chosen = int(self.draw.integers(len(self._corpora)))
        settings = self.settings
        batch = self._corpora[chosen].batch(self.draw, settings.queries, settings.candidates, self._nearest[chosen])
        coded = self._slots.encode(batch.documents)
        scores = self._slots.scores(batch.queries, coded)
        teacher = late_interaction(batch.queries, batch.documents, POOLED_SHARE)
        distilled = distillation(scores, teacher)
        if settings.stage == 1:
            return {"distillation": distilled}
        if settings.stage == 2:
            moved = (self._slots.projection - self._start).square().sum()
            return {
                "contrastive": contrastive(scores, batch.positives, batch.answers),
                "distillation": distilled,
                "distance from the start": KEPT * moved,
            }
        noisy = self._slots.scores(batch.queries, coded, noisy_median(coded.signs, self.noise))
        return {
            "BitDelta": BITDELTA * (distilled + one_bit(coded)),
            "Byzantine noise": BYZANTINE * distillation(noisy, teacher),
            "diversity": DIVERSITY * diversity(coded),
        }

    def measure(self) -> Measured:
        """Mean nDCG@10 of held-out queries of each corpus, by the integer code."""
        return {corpus.data.name: corpus.validate(self.basis) for corpus in self._corpora}

    def constrain(self) -> None:
        """Keep the projection orthogonal."""
        self._slots.retract()


def artifact_bytes(basis: SlotBasis, shipped: ShippedCounts) -> bytes:
    """Write a slot artifact, see ``zen.slot_artifact``."""
    return save(
        {
            "projection": basis.projection,
            "share": np.array([basis.share], np.int32),
            "units": basis.units,
            "frequencies": shipped.counts.astype(np.int32),
            "documents": np.array([shipped.documents], np.int32),
        }
    )
