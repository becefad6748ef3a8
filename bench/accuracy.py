"""How near canonical vectors are to the float model: cosines with it, and what is left of its Spearman on STS-B."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from scipy.stats import spearmanr

from bench.float_reference import FloatEncoder
from bench.report import Scalar
from bench.texts import Ids
from zenso import models
from zenso.canonical import CanonicalEncoder
from zenso.errors import InputError

STSB_FILE = "stsb_test.tsv"
AGAINST_FLOAT64 = ("min_cosine_vs_float64", "mean_cosine_vs_float64", "max_difference_units")

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A model of the catalogue in both forms."""

    name: str
    folder: Path  # its published files
    canonical: CanonicalEncoder
    floating: FloatEncoder

    def float_vectors(self, ids: Ids, bars: Progress, what: str) -> Float64:
        """Run the float64 forward pass: unit vectors, shape (n, hidden)."""
        tracked = bars.track(ids, description=f"{what}, {self.name} in float64")
        return np.stack([self.floating.vector(one) for one in tracked])


def load_model(name: str) -> Model:
    """Fetch a model and open both forms."""
    artifact = models.load_artifact(name)
    entry = models.lookup(name)
    folder = models.fetch(entry)
    return Model(name, folder, CanonicalEncoder(artifact), FloatEncoder(folder, entry.pooling))


def cosines(references: Float64, vectors: NDArray[np.int16] | NDArray[np.float32]) -> Float64:
    """Cosine of each unit vector of the reference with another vector, computed in float64: shape (n,)."""
    wide = vectors.astype(np.float64)
    found: Float64 = (references * wide).sum(axis=1) / np.sqrt((wide**2).sum(axis=1))
    return found


def against_float64(references: Float64, pooled: NDArray[np.int16]) -> dict[str, Scalar]:
    """Compare canonical vectors (scale 32767) with the unit vectors of the reference."""
    found = cosines(references, pooled)
    values = (found.min(), found.mean(), np.abs(pooled - 32767 * references).max())
    return dict(zip(AGAINST_FLOAT64, map(float, values), strict=True))


@dataclass(frozen=True)
class Similarities:
    """Pairs of sentences and how alike people found them, 0 to 5."""

    scores: list[float]
    first: list[str]
    second: list[str]


def read_stsb(folder: Path, pairs: int | None) -> Similarities | None:
    """Read the first ``pairs`` pairs of ``stsb_test.tsv``, or all; None when the folder has no such file.

    Raises
    ------
    InputError
        The file is not lines of score and two sentences, after a line of names, separated by tabs.
    """
    path = folder / STSB_FILE
    if not path.is_file():
        return None
    try:
        rows = [line.split("\t") for line in path.read_text("utf-8").split("\n")[1:] if line][:pairs]
        scores, first, second = zip(*[(float(score), first, second) for score, first, second in rows], strict=True)
    except ValueError as error:
        message = f"{path} is not lines of score, sentence and sentence, separated by tabs ({error})"
        raise InputError(message) from error
    return Similarities(list(scores), list(first), list(second))


def stsb(model: Model, pairs: Similarities, bars: Progress) -> tuple[float, float]:
    """Spearman correlation (of 100) of the scores with canonical dot products, and with cosines of the float model."""
    sentences = sorted({*pairs.first, *pairs.second})
    encoded = model.canonical.encode(sentences)
    floating = model.float_vectors(encoded.ids, bars, "STS-B")
    row = {sentence: index for index, sentence in enumerate(sentences)}
    first, second = ([row[sentence] for sentence in side] for side in (pairs.first, pairs.second))
    canonical = encoded.pooled.astype(np.int64)
    return (
        _spearman(pairs.scores, (canonical[first] * canonical[second]).sum(axis=1)),
        _spearman(pairs.scores, (floating[first] * floating[second]).sum(axis=1)),
    )


def _spearman(scores: Sequence[float], similarities: NDArray[np.int64] | Float64) -> float:
    return 100 * float(spearmanr(scores, similarities).statistic)
