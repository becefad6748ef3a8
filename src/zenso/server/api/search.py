"""Search over a memory, with a second look by the reranker where it is asked for."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field, FiniteFloat
from starlette.responses import Response

from zenso.memory import Explanation, Hit, Hits, Memory
from zenso.rerank import RerankResult, ZenReranker
from zenso.server.api.documents import Metadata, Where, WhereText, read_where
from zenso.server.api.routing import MEMORY_NAME, JsonRoute, MemoryName, Strict, TheServices, errors
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json

MAX_HITS = 1000
MAX_CANDIDATES = 100  # of a stage that an explanation shows

Count = Annotated[int, Field(ge=1, le=MAX_HITS)]

router = APIRouter(tags=["Search"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))


class Rerank(Strict):
    """A second look at the hits."""

    by: Annotated[
        Literal["text", "codes"],
        Field(description="reading each hit's text, or from the stored codes, much faster and a little less exact"),
    ] = "text"
    top_n: Annotated[Count | None, Field(description="how many of the hits are left; all without it")] = None


class SearchRequest(Strict):
    """What to search for: a query, or a vector of the memory's model."""

    query: str | None = None
    vector: Annotated[
        list[FiniteFloat] | None,
        Field(min_length=1, max_length=8192, description="384 numbers of any length; no words are compared"),
    ] = None
    k: Annotated[Count, Field(description="how many hits")] = 5
    where: Where | None = None
    hybrid: Annotated[bool, Field(description="compare the words of the query too")] = True
    dimensions: Annotated[
        Literal[1920, 3840, 7680, "auto"],
        Field(description="how much of the codes is scored; auto as much as is needed"),
    ] = 7680
    explain: Annotated[bool, Field(description="tell how the hits were found")] = False
    rerank: Rerank | None = None
    memory: Annotated[str | None, Field(description=MEMORY_NAME)] = None


class MatchedToken(Strict):
    """A token of the query, and the one of the hit that is most like it."""

    query: str
    candidate: str
    start: int
    end: int
    similarity: float
    share: Annotated[float, Field(description="of the query's weight")]


class Passage(Strict):
    """The part of a text that answers best; ``start`` and ``end`` count characters."""

    start: int
    end: int
    passage: str
    matches: list[MatchedToken]


class SearchHit(Strict):
    """A document that was found."""

    id: str
    score: Annotated[float, Field(description="what the hits are ordered by")]
    similarity: Annotated[float, Field(description="of its embedding to the query, about -1 to 1")]
    text: str
    metadata: Metadata
    search_score: Annotated[float | None, Field(description="before a rerank; null without one")]
    passage: Annotated[Passage | None, Field(description="of an explained rerank by text")]


class StageCandidate(Strict):
    """A document that a stage left."""

    id: str
    score: float


class SearchStage(Strict):
    """One stage: how many documents it looked at and left; ``candidates`` are the best of these, 100 at most."""

    name: str
    considered: int
    left: int
    seconds: float
    candidates: list[StageCandidate]


class SearchExplanation(Strict):
    """How the hits were found."""

    dimensions: int
    stages: list[SearchStage]


class SearchResponse(Strict):
    """The hits, best first."""

    hits: list[SearchHit]
    explanation: SearchExplanation | None


@router.post("/v1/search", response_model=SearchResponse)
async def search(request: SearchRequest, services: TheServices) -> Response:
    """Find the documents that answer a query best."""
    memory = services.memory(request.memory)
    return Json(await services.run(find_hits, memory, request))


@router.get("/v1/search", response_model=SearchResponse)
async def search_by_address(
    services: TheServices,
    q: Annotated[str, Query(description="the query")],
    k: Annotated[int, Query(ge=1, le=MAX_HITS)] = 5,
    where: WhereText = None,
    hybrid: Annotated[bool, Query(description="compare the words of the query too")] = True,  # noqa: FBT002
    memory: MemoryName = None,
) -> Response:
    """Find the documents that answer a query best; as POST, for an address that can be kept."""
    chosen = services.memory(memory)
    given = read_where(where)
    request = SearchRequest(query=q, k=k, where=None if given is None else dict(given), hybrid=hybrid)
    return Json(await services.run(find_hits, chosen, request))


def find_hits(memory: Memory, request: SearchRequest) -> dict[str, Any]:
    """Search a memory, and return a ``SearchResponse``.

    Raises
    ------
    RequestError
        400: the request holds no query, or what does not go together.
    InputError, ModelError
        As ``Memory.search``.
    """
    if request.vector is not None:
        return _by_vector(memory, request)
    if request.query is None:
        raise RequestError(400, "there is no query; give `query`, or `vector`", "invalid_request", "query")
    hits = memory.search(
        request.query,
        request.k,
        where=request.where,
        hybrid=request.hybrid,
        dimensions=request.dimensions,
        explain=request.explain,
    )
    explanation = None if hits.explanation is None else _explained(hits.explanation)
    if request.rerank is None or not hits:
        return {"hits": [_hit(hit) for hit in hits], "explanation": explanation}
    return {"hits": _reranked(memory, request, hits, request.rerank), "explanation": explanation}


def _by_vector(memory: Memory, request: SearchRequest) -> dict[str, Any]:
    if given := request.model_fields_set & {"query", "hybrid", "dimensions", "explain", "rerank"}:
        name = min(given)
        raise RequestError(400, f"`{name}` does not go with `vector`; leave one out", "invalid_request", name)
    hits = memory.search_vector(request.vector or [], request.k, where=request.where)
    return {"hits": [_hit(hit) for hit in hits], "explanation": None}


def _reranked(memory: Memory, request: SearchRequest, hits: Hits, rerank: Rerank) -> list[dict[str, Any]]:
    results = ZenReranker(memory=memory).rerank(
        request.query or "", hits, rerank.top_n, from_codes=rerank.by == "codes", explain=request.explain
    )
    return [_hit(result.candidate, result) for result in results]


def _hit(hit: Hit, result: RerankResult | None = None) -> dict[str, Any]:
    explanation = None if result is None else result.explanation
    return {
        "id": hit.id,
        "score": hit.score if result is None else result.score,
        "similarity": hit.similarity,
        "text": hit.text,
        "metadata": hit.metadata,
        "search_score": None if result is None else hit.score,
        "passage": None if explanation is None else asdict(explanation),
    }


def _explained(explanation: Explanation) -> Mapping[str, Any]:
    return {
        "dimensions": explanation.dimensions,
        "stages": [
            {
                "name": stage.name,
                "considered": stage.considered,
                "left": len(stage.candidates),
                "seconds": stage.seconds,
                "candidates": [asdict(one) for one in stage.candidates[:MAX_CANDIDATES]],
            }
            for stage in explanation.stages
        ],
    }
