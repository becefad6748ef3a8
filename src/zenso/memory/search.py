"""One search inside a read transaction: a ranking by codes, one by words, both fused, and explained if asked for."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zenso.bitdelta import DIMENSIONS, SlotQuery
from zenso.errors import InputError
from zenso.memory import store
from zenso.memory.documents import Hit, Hits
from zenso.memory.filters import Condition
from zenso.memory.fusion import fuse, share
from zenso.memory.stages import Candidate, Dimensions, Explanation, SearchSettings, Stage, StageResult, rank
from zenso.memory.words import rank_by_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.memory.matrix import View

# Places of each ranking that hybrid search fuses, or k if that is more.
FUSED = 100

_UNIT = 32767 * 32767


@dataclass(frozen=True, slots=True)
class Question:
    """What a search is for: ``words`` is None if similarity alone decides."""

    query: SlotQuery
    words: Sequence[str] | None
    k: int
    condition: Condition | None
    dimensions: Dimensions = DIMENSIONS[-1]


def answer(
    connection: sqlite3.Connection, view: "View", question: Question, settings: SearchSettings, *, explain: bool
) -> Hits:
    """Find the hits of a question in the state that ``connection``'s transaction and ``view`` stand for."""
    query, k, words = question.query, question.k, question.words
    depth = k if words is None else max(k, FUSED)
    allowed = store.matching(connection, question.condition) if question.condition else None
    ranking = rank(view, query, depth, allowed, settings, question.dimensions)
    seqs = view.seqs_at(ranking.rows)
    ordered = _best_first(connection, seqs, ranking.scores)[:depth]
    places = {name: (int(seqs[place]), int(ranking.scores[place])) for name, place in ordered}
    rankings = [list(places)]
    stages = [_named(connection, view, stage) for stage in ranking.stages] if explain else []
    if words is not None:
        began = time.perf_counter()
        found = rank_by_words(connection, words, depth, question.condition)
        # A document whose embedding a repair took away has words, but is not found until it has a new one.
        scores = view.scores(query, found, ranking.dimensions)
        found = [seq for seq in found if seq in scores]
        names = store.ids_at(connection, np.array(found, np.int64))
        places |= {name: (seq, scores[seq]) for name, seq in zip(names, found, strict=True)}
        rankings.append(names)
        seconds = time.perf_counter() - began
        if explain:
            stages.append(_ranked("words", ranking.stages[0].considered, fuse(rankings[1:]), 1, seconds))
    best = fuse(rankings)
    if explain and len(rankings) > 1:
        stages.append(_ranked("fused", len(best), best, len(rankings), 0.0))
    similarities = query.similarity(np.array([places[name][1] for name, _ in best[:k]], np.int64)).tolist()
    hits = Hits()
    for (name, points), similarity in zip(best[:k], similarities, strict=True):
        document = store.document_at(connection, places[name][0])
        score = similarity if words is None else share(points, len(rankings))
        hits.append(Hit(document.id, score, document.text, document.metadata, similarity))
    hits.explanation = Explanation(tuple(stages), ranking.dimensions) if explain else None
    return hits


def nearest(connection: sqlite3.Connection, vector: "NDArray[np.int16]", k: int, condition: Condition | None) -> Hits:
    """Find the documents whose canonical vectors have the largest dot product with ``vector`` (width,)."""
    blocks = list(_dot_products(connection, vector, condition))
    if not blocks:
        return Hits()
    seqs, dots = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    if len(dots) > k:
        best = dots >= np.partition(dots, len(dots) - k)[len(dots) - k]
        seqs, dots = seqs[best], dots[best]
    hits = Hits()
    for _, place in _best_first(connection, seqs, dots)[:k]:
        document = store.document_at(connection, int(seqs[place]))
        similarity = float(dots[place]) / _UNIT
        hits.append(Hit(document.id, similarity, document.text, document.metadata, similarity))
    return hits


def _dot_products(
    connection: sqlite3.Connection, vector: "NDArray[np.int16]", condition: Condition | None
) -> "Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]":
    query = vector.astype(np.float64)
    for seqs, vectors in store.vectors(connection, condition):
        if vectors.shape[1] != len(query):
            raise InputError(
                f"the vector has {len(query)} numbers, the documents' have {vectors.shape[1]}; embed with their model"
            )
        yield seqs, vectors.astype(np.float64) @ query  # exact: sums of products of 30 bits stay below 2^53


def _best_first(
    connection: sqlite3.Connection, seqs: "NDArray[np.int64]", scores: "NDArray[np.int64] | NDArray[np.float64]"
) -> list[tuple[str, int]]:
    """Order rows by score, equal scores by id: pairs of an id and its place in what was given."""
    ids = store.ids_at(connection, seqs)
    return [(name, place) for _, name, place in sorted(zip(-scores, ids, range(len(ids)), strict=True))]


def _named(connection: sqlite3.Connection, view: "View", stage: StageResult) -> Stage:
    """Name the documents that a stage left."""
    ordered = _best_first(connection, view.seqs_at(stage.rows), stage.scores)
    candidates = tuple(Candidate(name, float(stage.scores[place])) for name, place in ordered)
    return Stage(stage.name, stage.considered, candidates, stage.seconds)


def _ranked(name: str, considered: int, ranked: Sequence[tuple[str, int]], rankings: int, seconds: float) -> Stage:
    """Describe a stage whose scores are points for places."""
    candidates = tuple(Candidate(document_id, share(points, rankings)) for document_id, points in ranked)
    return Stage(name, considered, candidates, seconds)


def check_k(k: int) -> None:
    """Refuse what is no number of hits."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InputError(f"k is {k!r}; give a whole number of at least 1")


def canonical_vector(vector: "Sequence[float] | NDArray[np.floating | np.int16]") -> "NDArray[np.int16]":
    """Return a vector as int16 with scale 32767, or raise InputError."""
    from zenso.canonical import normalise, quantise  # noqa: PLC0415 - other searches do not need it

    given = np.asarray(vector)
    if given.ndim != 1 or given.dtype.kind not in "fiu":
        raise InputError(f"the vector has shape {given.shape} and type {given.dtype}; give one row of numbers")
    canonical = given if given.dtype == np.int16 else quantise(normalise(given.astype(np.float64)))
    if not canonical.any():
        raise InputError("the vector is zero, so it has no direction; give an embedding of the memory's model")
    return canonical
