"""Vectors of 384 numbers as points of a plane: the two directions in which they differ most."""

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from zenso.memory import Document, Memory

MOST_POINTS = 4000
_TITLE = 90  # characters
_DIGITS = 4  # after the point; more would differ between machines


@dataclass(frozen=True)
class Point:
    """A document on the map; coordinates within -1 to 1."""

    id: str
    title: str
    x: float
    y: float
    fields: dict[str, str]  # metadata that may be a group's name


@dataclass(frozen=True)
class Projection:
    """Documents of a memory at one moment, by their two first principal components."""

    generation: int
    documents: int  # of the memory
    points: list[Point]
    spread: float  # share of the vectors' variance that the plane shows
    centre: NDArray[np.float64]  # (384,)
    axes: NDArray[np.float64]  # (384, 2)

    @property
    def fields(self) -> list[str]:
        """Names of metadata that may colour the points."""
        return sorted({name for point in self.points for name in point.fields})

    def place(self, vector: NDArray[np.int16]) -> tuple[float, float]:
        """Return where a vector (384,) lies."""
        x, y = ((vector.astype(np.float64) - self.centre) @ self.axes).tolist()
        return round(x, _DIGITS), round(y, _DIGITS)


_kept: WeakKeyDictionary[Memory, Projection] = WeakKeyDictionary()
_lock = threading.Lock()


def projection_of(memory: Memory) -> Projection | None:
    """Return the projection of what a memory holds now, made once for each of its states; None for an empty one.

    Of a memory with more than 4,000 documents, as many are shown, chosen evenly in the order they were added.
    """
    generation = memory.info().generation
    with _lock:
        kept = _kept.get(memory)
        if kept is not None and kept.generation == generation:
            return kept
        made = _project(memory, generation)
        if made is not None:
            _kept[memory] = made
        return made


def _project(memory: Memory, generation: int) -> Projection | None:
    ids = memory.ids()
    chosen = [ids[number * len(ids) // MOST_POINTS] for number in range(MOST_POINTS)] if len(ids) > MOST_POINTS else ids
    vectors = memory.vectors(chosen)
    documents = [document for document in memory.find({"$ids": chosen}) if document.id in vectors] if chosen else []
    if not documents:
        return None
    matrix = np.array([vectors[document.id] for document in documents], np.float64)
    centre = matrix.mean(axis=0)
    matrix -= centre
    variances, directions = np.linalg.eigh(matrix.T @ matrix)
    axes = directions[:, [-1, -2]]
    # An eigenvector may point either way: its largest number shall be positive.
    largest = axes[np.abs(axes).argmax(axis=0), [0, 1]]
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    places = matrix @ axes
    reach = float(np.abs(places).max()) or 1.0
    places = np.round(places / reach, _DIGITS)
    total = float(variances.sum())
    spread = float(variances[-2:].sum()) / total if total > 0 else 1.0
    points = [
        Point(document.id, _title(document), x, y, _group_fields(document))
        for document, (x, y) in zip(documents, places.tolist(), strict=True)
    ]
    return Projection(generation, len(ids), points, spread, centre, axes / reach)


def _title(document: Document) -> str:
    for name in ("title", "name"):
        if isinstance(given := document.metadata.get(name), str) and given.strip():
            return given[:_TITLE]
    line = " ".join(document.text.split())
    return line if len(line) <= _TITLE else line[: _TITLE - 1] + "…"


def _group_fields(document: Document) -> dict[str, str]:
    return {
        name: str(value)[:_TITLE] for name, value in document.metadata.items() if isinstance(value, str | bool | int)
    }
