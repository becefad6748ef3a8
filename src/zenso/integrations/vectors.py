"""Canonical vectors as the lists of floats that frameworks pass around, and the choice of diverse ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from zenso.canonical import CanonicalEncoder, Role, Want
from zenso.models import load_artifact, lookup
from zenso.zen import load_encoder
from zenso.zen.dense import check_dimensions

DEFAULT_MODEL = "all-MiniLM-L6-v2"


@cache
def _load(model: str, threads: int | None) -> CanonicalEncoder:
    return CanonicalEncoder(load_artifact(model), threads=threads)


@dataclass(frozen=True)
class CanonicalVectors:
    """The canonical vectors of a model, which is fetched and loaded on first use.

    A number is the canonical int16 divided by 32767, so ``round(32767 * number)`` gives it back, and the floats are
    the same on every machine. Their norm is 1 but for rounding.

    Parameters
    ----------
    model : str
        Name or id in the catalogue.
    threads : int, optional
        The number of processors by default.
    dimensions : int, optional
        384, 1,920, 3,840 or 7,680, as ``ZenEncoder.encode_dense``; by default the model's pooled vectors.

    Raises
    ------
    InputError
        There are no vectors of so many dimensions.
    ModelError
        The model is unknown; when it is first used, that it cannot be fetched, or has pooled vectors only.
    """

    model: str
    threads: int | None = None
    dimensions: int | None = None

    def __post_init__(self) -> None:
        lookup(self.model)
        if self.dimensions is not None:
            check_dimensions(self.dimensions)

    def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed documents.

        Raises
        ------
        InputError
            A text is not a string, or is empty.
        """
        return self._embed(texts, Role.DOCUMENT)

    def query(self, text: str) -> list[float]:
        """Embed a query; some models were trained to tell it from a document.

        Raises
        ------
        InputError
            The text is not a string, or is empty.
        """
        return self._embed([text], Role.QUERY)[0]

    def _embed(self, texts: Sequence[str], role: Role) -> list[list[float]]:
        if self.dimensions is None:
            found = _load(lookup(self.model).name, self.threads).encode(texts, Want.POOLED, role=role).pooled
        else:
            found = (
                load_encoder(self.model, threads=self.threads).encode_dense(texts, self.dimensions, role=role).vectors
            )
        vectors: list[list[float]] = (found / 32767).tolist()
        return vectors


def diverse(query: NDArray[np.generic], vectors: Sequence[NDArray[np.int16]], k: int, relevance: float) -> list[int]:
    """Choose vectors that are near a query and not near each other: maximal marginal relevance.

    The source is Carbonell and Goldstein, 1998. Among equals the earlier one is chosen.

    Parameters
    ----------
    query : shape (width,)
    vectors : sequence of int16, shape (width,)
    k : int
        How many to choose, at most.
    relevance : float
        1 looks only at the query, 0 only at what was chosen before.

    Returns
    -------
    list of int
        Places in ``vectors``, in the order of choice.
    """
    if not vectors:
        return []
    rows = _unit(np.stack(vectors).astype(np.float64))
    near = rows @ _unit(query.astype(np.float64))
    overlap = np.full(len(rows), -1.0)
    chosen: list[int] = []
    while len(chosen) < min(k, len(rows)):
        value = near if not chosen else relevance * near - (1 - relevance) * overlap
        value = value.copy()
        value[chosen] = -np.inf
        chosen.append(int(np.argmax(value)))
        overlap = np.maximum(overlap, rows @ rows[chosen[-1]])
    return chosen


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit
