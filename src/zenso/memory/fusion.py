"""Reciprocal-rank fusion (Cormack, Clarke and Buettcher, 2009) in integers.

A document at place p of a ranking gets 1 / (60 + p) of the points; the points of all rankings are added.
"""

from collections.abc import Sequence

RANK_CONSTANT = 60
_UNIT = 1 << 32


def _worth(place: int) -> int:
    return _UNIT // (RANK_CONSTANT + place)


def fuse(rankings: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
    """Fuse rankings of ids, each best first, into (id, points), most points first, equal ones by id."""
    points: dict[str, int] = {}
    for ranking in rankings:
        for place, document_id in enumerate(ranking, start=1):
            points[document_id] = points.get(document_id, 0) + _worth(place)
    return sorted(points.items(), key=lambda item: (-item[1], item[0]))


def share(points: int, rankings: int) -> float:
    """Return points as a share of those of a document that is first in every ranking, 0 to 1."""
    return points / (rankings * _worth(1))
