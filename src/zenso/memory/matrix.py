"""The code matrix in memory: one immutable view for each generation of the database, brought up to date step by step.

A view is made of mapped segments, each with a mask of the rows still alive, and of the tail: the newest rows, read
from SQLite. It is made from and for one read transaction, so a search never meets a row that its transaction does not
see. Threads share views freely because none is ever changed.
"""

import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zenso.bitdelta import CODE_BYTES, SlotQuery, score
from zenso.bitdelta.table import CodeTable, column
from zenso.errors import IntegrityError
from zenso.memory import store
from zenso.memory.segments import FOLDER_NAME, Segment, map_segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_LAST_SEQ = 2**63 - 1
_NO_CODES = np.empty((0, CODE_BYTES), np.uint8)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows (n,) in ascending order, their codes (n, 964) and column, which are alive (n,), and the segment if any."""

    seqs: "NDArray[np.int64]"
    codes: "NDArray[np.uint8]"
    column: "NDArray[np.uint64]"
    live: "NDArray[np.bool_]"
    segment: Segment | None = None

    def find(self, seqs: "NDArray[np.int64]") -> "NDArray[np.intp]":
        """Return the indices of those of ``seqs`` that this part holds."""
        if not len(self.seqs):
            return np.empty(0, np.intp)
        inside = seqs[np.searchsorted(seqs, self.seqs[0]) : np.searchsorted(seqs, self.seqs[-1], "right")]
        places: NDArray[np.intp] = np.searchsorted(self.seqs, inside)
        return np.compress(self.seqs[places] == inside, places)

    def without(self, seqs: "NDArray[np.int64]") -> "Part":
        """Return this part with some rows marked dead."""
        dead = self.find(seqs)
        if not len(dead):
            return self
        live = self.live.copy()
        live[dead] = False
        return replace(self, live=live)

    def mask(self, allowed: "NDArray[np.int64] | None") -> "NDArray[np.bool_]":
        """Return which rows may be found, (n,)."""
        if allowed is None:
            return self.live
        chosen = np.zeros(len(self.seqs), np.bool_)
        chosen[self.find(allowed)] = True
        return chosen & self.live


@dataclass(frozen=True)
class View:
    """The matrix as of one generation: a part for each segment, then the tail.

    A view of another epoch says nothing of what rows mean now, so the next one is made without it.
    ``damaged`` are the segments whose files were missing or wrong, so that their rows came from SQLite.
    """

    generation: int
    parts: tuple[Part, ...]
    damaged: frozenset[Segment] = frozenset()
    epoch: int = -1

    @cached_property
    def table(self) -> CodeTable:
        """All parts as one: its rows are counted through the parts in order."""
        return CodeTable([part.codes for part in self.parts], [part.column for part in self.parts])

    @cached_property
    def _live(self) -> "NDArray[np.bool_] | None":
        live = self._join([part.live for part in self.parts])
        return None if live.all() else live

    def mask(self, allowed: "NDArray[np.int64] | None") -> "NDArray[np.bool_] | None":
        """Return which rows of the table may be found, (rows,), or None if that is all of them.

        ``allowed`` are the seqs a filter left, ascending, or None for all.
        """
        return self._live if allowed is None else self._join([part.mask(allowed) for part in self.parts])

    def seqs_at(self, rows: "NDArray[np.int64]") -> "NDArray[np.int64]":
        """Return the seqs of rows of the table, which are given in ascending order: (n,)."""
        ends = np.cumsum([len(part.seqs) for part in self.parts])
        cuts = [0, *np.searchsorted(rows, ends)]
        seqs = [
            part.seqs[rows[first:last] - (end - len(part.seqs))]
            for part, first, last, end in zip(self.parts, cuts[:-1], cuts[1:], ends, strict=True)
            if first < last
        ]
        return np.concatenate(seqs) if seqs else np.empty(0, np.int64)

    @staticmethod
    def _join(masks: "Sequence[NDArray[np.bool_]]") -> "NDArray[np.bool_]":
        return np.concatenate(masks) if masks else np.empty(0, np.bool_)

    def scores(self, query: SlotQuery, seqs: Sequence[int], dimensions: int) -> dict[int, int]:
        """Return the integer scores of some rows (seq), those that are alive, with so many dimensions."""
        wanted = np.array(sorted(seqs), np.int64)
        found: dict[int, int] = {}
        for part in self.parts:
            places = part.find(wanted)
            places = places[part.live[places]]
            if len(places):
                found |= zip(
                    part.seqs[places].tolist(),
                    score(query, part.codes, places, dimensions=dimensions).tolist(),
                    strict=True,
                )
        return found


_EMPTY = View(-1, ())


class Matrix:
    """Keeps the newest view of one memory for all threads of a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER_NAME
        self._lock = threading.Lock()
        self._view = _EMPTY

    def take_damaged(self) -> frozenset[Segment]:
        """Return the segments whose files turned out missing or wrong, once: the caller will write them anew."""
        with self._lock:
            damaged = self._view.damaged
            self._view = replace(self._view, damaged=frozenset())
            return damaged

    def view(self, connection: sqlite3.Connection) -> View | None:
        """Return the view for the state that ``connection``'s transaction sees.

        None if another thread has already moved on to a newer state: begin a new transaction and ask again.
        """
        generation, epoch = store.generation(connection), store.epoch(connection)
        with self._lock:
            if self._view.epoch != epoch:
                self._view = replace(_EMPTY, epoch=epoch)
            if self._view.generation > generation:
                return None
            if self._view.generation < generation:
                self._view = _advance(self._view, connection, generation, self._folder)
            return self._view


def registered_segments(connection: sqlite3.Connection) -> list[Segment]:
    """Return the current segments in ascending order of rows."""
    return [
        Segment(*row)
        for row in connection.execute("SELECT first_seq, last_seq, rows, checksum FROM segments ORDER BY first_seq")
    ]


def _advance(view: View, connection: sqlite3.Connection, generation: int, folder: Path) -> View:
    """Make the next view out of the last one: only new segments and new rows are read."""
    removed = _seqs(connection, "SELECT seq FROM removed WHERE generation > ? ORDER BY seq", view.generation)
    known = {part.segment: part for part in view.parts if part.segment}
    damaged: set[Segment] = set()
    parts: list[Part] = []
    for segment in registered_segments(connection):
        part = known.get(segment)
        if part is not None:
            parts.append(part.without(removed))
            damaged |= view.damaged & {segment}
            continue
        part = _mapped(segment, connection, folder)
        if part is None:
            damaged.add(segment)
            part = _stored(*store.codes(connection, segment.first_seq, segment.last_seq), segment)
        parts.append(part)
    return View(generation, (*parts, _tail(view, connection, removed, _covered(parts))), frozenset(damaged), view.epoch)


def _mapped(segment: Segment, connection: sqlite3.Connection, folder: Path) -> Part | None:
    """Return a segment from its file, or None if the file is missing or cannot be trusted."""
    try:
        seqs, codes, of_codes = map_segment(folder, segment)
    except FileNotFoundError:
        return None
    except (IntegrityError, OSError) as error:
        _log.warning("%s: its rows are read from the database instead", error)
        return None
    dead = "SELECT seq FROM removed WHERE seq BETWEEN ? AND ? ORDER BY seq"
    part = Part(seqs, codes, of_codes, np.ones(len(seqs), np.bool_), segment)
    return part.without(_seqs(connection, dead, segment.first_seq, segment.last_seq))


def _tail(view: View, connection: sqlite3.Connection, removed: "NDArray[np.int64]", covered: int) -> Part:
    """Return the rows after ``covered``, where the segments end: what the last view had of them, and what is new."""
    old = view.parts[-1].without(removed) if view.parts else _stored(np.empty(0, np.int64), _NO_CODES)
    kept = old.live & (old.seqs > covered)
    newest = max(covered, int(old.seqs[-1]) if len(old.seqs) else 0)
    seqs, codes = store.codes(connection, newest + 1, _LAST_SEQ)
    if kept.any():
        seqs, codes = np.concatenate((old.seqs[kept], seqs)), np.concatenate((old.codes[kept], codes))
    return _stored(seqs, codes)


def _covered(parts: Sequence[Part]) -> int:
    """Return the last row that segments stand for. It never falls: a segment is only ever replaced or extended."""
    return parts[-1].segment.last_seq if parts and parts[-1].segment else 0


def _stored(seqs: "NDArray[np.int64]", codes: "NDArray[np.uint8]", segment: Segment | None = None) -> Part:
    """Make a part of rows that came from SQLite."""
    return Part(seqs, codes, column(codes), np.ones(len(seqs), np.bool_), segment)


def _seqs(connection: sqlite3.Connection, query: str, *parameters: int) -> "NDArray[np.int64]":
    return np.fromiter((row[0] for row in connection.execute(query, parameters)), np.int64)
