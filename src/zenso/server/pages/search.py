"""Search: what a memory answers, where in a document the answer stands, and how it was found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from blake3 import blake3
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from zenso.errors import InputError
from zenso.memory import Hit, Hits, Memory
from zenso.rerank import Explanation, RerankResult
from zenso.server.api.routing import TheServices
from zenso.server.pages.choices import TheChoice, TheFilter, form_values
from zenso.server.pages.filters import Row, as_where
from zenso.server.pages.rendering import render
from zenso.server.services import Services

router = APIRouter()

_READ_CHARACTERS = 60_000  # of all results together, that are read for their best passages: a second or two
_AROUND = 240  # characters that are shown before and after a passage
_STRONG, _WEAK = 0.6, 0.4  # cosines of tokens from which they are marked
_LONGEST_WORD = 40  # characters that a mark is widened by
_UNSPACED = "\u2e80"  # here the scripts begin that are written without spaces
_TELLING = 0.5  # of the mean weight of the query's tokens: those with less, such as "the", mark nothing


@dataclass(frozen=True)
class Piece:
    """A piece of a text that is shown: ``mark`` is empty, or ``passage``, ``weak``, ``strong``."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Result:
    """A hit as it is shown."""

    hit: Hit
    pieces: list[Piece]
    digest: bytes  # of the text
    evidence: float | None  # score of the reranker; None where it did not read
    places: list[tuple[str, str, float]]  # stage, place among its candidates, score
    matches: list[tuple[str, str, float]] = field(default_factory=list)  # token of the query, of the text, cosine


@router.get("/")
async def search(
    request: Request,
    services: TheServices,
    choice: TheChoice,
    rows: TheFilter,
    q: Annotated[str, Query(max_length=10_000)] = "",
    k: Annotated[int, Query(ge=1, le=50)] = 10,
    ranking: Annotated[str, Query(pattern="^(hybrid|meaning|read)$")] = "hybrid",
) -> Response:
    """Show the form, and the results of a query."""
    values: dict[str, object] = {"q": q, "k": k, "ranking": ranking, "hits": None, "results": [], "problem": None}
    if q.strip() and choice.memory is not None:
        try:
            values |= await services.run(_results, services, choice.memory, q, k, ranking, rows)
        except InputError as error:
            values["problem"] = str(error)
    values |= await services.run(form_values, choice, rows)
    return render(request, "search.html", values)


def _results(
    services: Services, memory: Memory, query: str, k: int, ranking: str, rows: Sequence[Row]
) -> dict[str, object]:
    hits = memory.search(query, k, where=as_where(rows), hybrid=ranking != "meaning", explain=True)
    read = _read(services, memory, query, hits)
    places = _places(hits)
    results = [_result(hit, read.get(hit.id), places.get(hit.id, [])) for hit in hits]
    if ranking == "read":
        results.sort(key=lambda result: -(result.evidence or 0))
    return {"hits": hits, "results": results}


def _read(services: Services, memory: Memory, query: str, hits: Hits) -> dict[str, RerankResult]:
    """Read as many of the hits as may be, best first."""
    chosen, left = [], _READ_CHARACTERS
    for hit in hits:
        left -= len(hit.text)
        if left >= 0:
            chosen.append(hit)
    if not chosen:
        return {}
    read = services.reranker(memory).rerank(query, chosen, explain=True)
    return {result.candidate.id: result for result in read}


def _places(hits: Hits) -> dict[str, list[tuple[str, str, float]]]:
    """Say of each hit where each stage of the search had it."""
    wanted = {hit.id for hit in hits}
    places: dict[str, list[tuple[str, str, float]]] = {}
    for stage in hits.explanation.stages if hits.explanation else ():
        for place, candidate in enumerate(stage.candidates, 1):
            if candidate.id in wanted:
                where = f"{place:,} of {stage.considered:,}"
                places.setdefault(candidate.id, []).append((stage.name, where, candidate.score))
    return places


def _result(hit: Hit, read: RerankResult | None, places: list[tuple[str, str, float]]) -> Result:
    digest = blake3(hit.text.encode()).digest()
    if read is None or read.explanation is None:
        return Result(hit, _beginning(hit.text), digest, None, places)
    found = read.explanation
    matches = [
        (match.query, match.candidate, match.similarity)
        for match in sorted(found.matches, key=lambda match: -match.share)
        if match.candidate
    ]
    return Result(hit, _pieces(hit.text, found), digest, read.score, places, matches)


def _beginning(text: str) -> list[Piece]:
    return [Piece(text[: 3 * _AROUND] + ("…" if len(text) > 3 * _AROUND else ""))]


def _pieces(text: str, found: Explanation) -> list[Piece]:
    """Cut the surroundings of the best passage where a mark begins or ends."""
    begin, end = _word(text, found.start, found.end)
    first, last = max(0, begin - _AROUND), min(len(text), end + _AROUND)
    marks: dict[tuple[int, int], str] = {}
    for match in found.matches:
        telling = match.share * len(found.matches) >= _TELLING and any(map(str.isalnum, match.candidate))
        if telling and match.similarity >= _WEAK and first <= match.start < match.end <= last:
            word = _word(text, match.start, match.end)
            strong = match.similarity >= _STRONG or marks.get(word) == "strong"
            marks[word] = "strong" if strong else "weak"
    first, last = min([first, *(start for start, _ in marks)]), max([last, *(stop for _, stop in marks)])
    edges = sorted({first, last, begin, end, *(edge for span in marks for edge in span)})
    pieces = [Piece("…")] if first else []
    for start, stop in pairwise(edges):
        mark = next((mark for (left, right), mark in marks.items() if left <= start and stop <= right), "")
        pieces.append(Piece(text[start:stop], mark or ("passage" if begin <= start and stop <= end else "")))
    return [*pieces, Piece("…")] if last < len(text) else pieces


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen the place of a token, which may be a part of a word, to the word."""
    least, most = max(0, start - _LONGEST_WORD), min(len(text), end + _LONGEST_WORD)
    while start > least and _joined(text, start):
        start -= 1
    while end < most and _joined(text, end):
        end += 1
    return start, end


def _joined(text: str, place: int) -> bool:
    """Whether the characters before and at a place are of one word; scripts without spaces have words of one."""
    return all(one.isalnum() and one < _UNSPACED for one in text[place - 1 : place + 1])
