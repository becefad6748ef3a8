"""Reranking and scoring as the clients of Cohere, Jina, vLLM and TEI ask for it."""

import math
import secrets
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from zenso.canonical import well_formed
from zenso.rerank import RerankResult, ZenReranker
from zenso.server.api.routing import BodyRoute, TheServices, errors
from zenso.server.batching import tokens_read
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json
from zenso.server.services import Services
from zenso.zen import ZenEncoder

MAX_DOCUMENTS = 1000  # as Cohere's
_SEARCH_UNIT = 100  # documents; how Cohere counts

# --- what is asked --------------------------------------------------------------------------------------------------


class TextObject(BaseModel):
    """A document as an object; its other fields are passed over."""

    text: str


def _text_of(given: object) -> object:
    return given["text"] if isinstance(given, dict) and isinstance(given.get("text"), str) else given


def _check_text(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "is empty or only white space; leave it out")
    return well_formed(text)  # what JSON can carry back


Text = Annotated[str, AfterValidator(_check_text)]
Document = Annotated[Text, BeforeValidator(_text_of, json_schema_input_type=str | TextObject)]
Documents = Annotated[list[Document], Field(min_length=1, max_length=MAX_DOCUMENTS)]


class _Options(BaseModel):
    """What every request may say; fields that are not described are passed over."""

    model: str = Field(default="", description="passed over: the server's own model reads")
    memory: str | None = Field(
        default=None, description="a memory: words weigh by how many of its documents hold them; an extension"
    )


class RerankRequest(_Options):
    """A query and what to order, as the clients of Cohere, Jina, vLLM or TEI send it."""

    query: Text
    documents: Documents = Field(
        validation_alias=AliasChoices("documents", "texts"),
        description="texts, or objects with a `text`; TEI's clients call them `texts`, and are answered as TEI does",
    )
    top_n: int | None = Field(default=None, ge=0, description="how many to return; all by default, and where it is 0")
    return_documents: bool | None = Field(
        default=None,
        validation_alias=AliasChoices("return_documents", "return_text"),
        description="whether results hold their text: by default in Jina's and vLLM's dialect alone",
    )
    raw_scores: bool = Field(
        default=False, description="TEI's: the evidence, about -1 to 1, in place of scores from 0 to 1"
    )
    max_tokens_per_doc: int | None = Field(
        default=None, ge=1, description="how far a document is read; the first 50,000 characters by default"
    )


class ScoreRequest(_Options):
    """Pairs to score, as vLLM's clients send them: one text and one or several, or as many of each."""

    text_1: Document | Documents = Field(
        validation_alias=AliasChoices("text_1", "data_1", "queries"), description="a query, or one for each document"
    )
    text_2: Document | Documents = Field(
        validation_alias=AliasChoices("text_2", "data_2", "documents", "texts", "items"),
        description="a document, or several",
    )


# --- what is answered -----------------------------------------------------------------------------------------------


class CohereResult(BaseModel):
    """A document's place and score, 0 to 1."""

    index: int
    relevance_score: float
    document: TextObject | None = None


class CohereVersion(BaseModel):
    """Version of Cohere's API."""

    version: str


class CohereUnits(BaseModel):
    """What Cohere would bill: a unit for a query with up to 100 documents."""

    search_units: int


class CohereTokens(BaseModel):
    """Tokens that the model read."""

    input_tokens: int


class CohereMeta(BaseModel):
    """What the request took."""

    api_version: CohereVersion
    billed_units: CohereUnits
    tokens: CohereTokens


class CohereResponse(BaseModel):
    """Documents, best first, as Cohere returns them."""

    id: str
    results: list[CohereResult]
    meta: CohereMeta


class Usage(BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class JinaResult(BaseModel):
    """A document's place and score, 0 to 1."""

    index: int
    relevance_score: float
    document: TextObject | None = None


class JinaResponse(BaseModel):
    """Documents, best first, as Jina and vLLM return them."""

    id: str
    object: Literal["list"]
    model: str
    results: list[JinaResult]
    usage: Usage


class TeiRank(BaseModel):
    """A text's place and score, as TEI returns them."""

    index: int
    score: float
    text: str | None = None


class Score(BaseModel):
    """How well the second text of a pair answers the first, 0 to 1."""

    index: int
    object: Literal["score"]
    score: float


class ScoreResponse(BaseModel):
    """Scores in the order of the pairs, as vLLM returns them."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: Usage


# --- routes ---------------------------------------------------------------------------------------------------------

router = APIRouter(tags=["Rerank"], route_class=BodyRoute)


@router.post("/v2/rerank", response_model=CohereResponse, responses=errors(Dialect.COHERE))
async def rerank_as_cohere(request: RerankRequest, services: TheServices) -> Response:
    """Order documents by how well they answer a query, as Cohere's API does."""
    ranking = await services.run(_ranking, services, request)
    return Json(
        {
            "id": str(uuid.uuid4()),
            "results": _results(ranking, request, with_text=request.return_documents is True),
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"search_units": math.ceil(len(request.documents) / _SEARCH_UNIT)},
                "tokens": {"input_tokens": ranking.tokens},
            },
        }
    )


async def _spoken(request: Request) -> Dialect:
    """Tell Jina's dialect from TEI's, by the name of what is to be ordered; its errors follow."""
    try:
        body = await request.json()
    except ValueError:  # refused when it is validated
        body = None
    is_tei = isinstance(body, dict) and "texts" in body and "documents" not in body
    dialect = request.state.dialect = Dialect.TEI if is_tei else Dialect.JINA
    return dialect


@router.post("/v1/rerank", response_model=JinaResponse | list[TeiRank], responses=errors(Dialect.JINA))
@router.post("/rerank", response_model=JinaResponse | list[TeiRank], responses=errors(Dialect.JINA))
async def rerank(
    dialect: Annotated[Dialect, Depends(_spoken)], request: RerankRequest, services: TheServices
) -> Response:
    """Order `documents` as Jina's and vLLM's APIs do, or `texts` as TEI does."""
    ranking = await services.run(_ranking, services, request)
    if dialect is Dialect.TEI:
        return Json([_tei_rank(result, request) for result in ranking.results])
    return Json(
        {
            "id": f"rerank-{secrets.token_hex(16)}",
            "object": "list",
            "model": ranking.model,
            "results": _results(ranking, request, with_text=request.return_documents is not False),
            "usage": {"prompt_tokens": ranking.tokens, "total_tokens": ranking.tokens},
        }
    )


@router.post("/v1/score", response_model=ScoreResponse, responses=errors(Dialect.OPENAI))
@router.post("/score", response_model=ScoreResponse, responses=errors(Dialect.OPENAI))
async def score(request: ScoreRequest, services: TheServices) -> Response:
    """Score pairs of texts, as vLLM's API does."""
    first, second = _pairs(request)
    scores, model, tokens = await services.run(_scores, services, request.memory, first, second)
    return Json(
        {
            "id": f"score-{secrets.token_hex(16)}",
            "object": "list",
            "created": int(time.time()),
            "model": model,
            "data": [{"index": index, "object": "score", "score": value} for index, value in enumerate(scores)],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


# --- work, in threads -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ranking:
    """Documents, best first, and what it took."""

    results: list[RerankResult]
    model: str
    tokens: int


def _reranker(services: Services, memory: str | None) -> ZenReranker:
    return services.reranker(None if memory is None else services.memory(memory))


def _ranking(services: Services, request: RerankRequest) -> _Ranking:
    reranker = _reranker(services, request.memory)
    documents = request.documents
    if request.max_tokens_per_doc is not None:
        documents = _cut(reranker.encoder, documents, request.max_tokens_per_doc)
    results = reranker.rerank(request.query, documents, request.top_n or None)
    return _Ranking(results, reranker.encoder.name, tokens_read())


def _cut(encoder: ZenEncoder, documents: Sequence[str], most: int) -> list[str]:
    """Cut documents behind so many tokens."""
    encodings = encoder.splitting_tokenizer.encode_batch(list(documents), add_special_tokens=False)
    return [
        text[: encoding.offsets[most - 1][1]] if len(encoding.offsets) > most else text
        for text, encoding in zip(documents, encodings, strict=True)
    ]


def _pairs(request: ScoreRequest) -> tuple[list[str], list[str]]:
    first = [request.text_1] if isinstance(request.text_1, str) else request.text_1
    second = [request.text_2] if isinstance(request.text_2, str) else request.text_2
    if len(first) not in (1, len(second)):
        message = f"text_1 has {len(first)} texts and text_2 has {len(second)}; give one text_1, or as many of each"
        raise RequestError(400, message, "invalid_request", "text_1")
    return first * len(second) if len(first) == 1 else first, second


def _scores(
    services: Services, memory: str | None, first: Sequence[str], second: Sequence[str]
) -> tuple[list[float], str, int]:
    """Score pairs; those that share their first text together."""
    reranker = _reranker(services, memory)
    places: dict[str, list[int]] = defaultdict(list)
    for place, query in enumerate(first):
        places[query].append(place)
    scores = [0.0] * len(second)
    for query, mine in places.items():
        for result in reranker.rerank(query, [second[place] for place in mine]):
            scores[mine[result.index]] = result.score
    return scores, reranker.encoder.name, tokens_read()


# --- shapes ---------------------------------------------------------------------------------------------------------


def _results(ranking: _Ranking, request: RerankRequest, *, with_text: bool) -> list[dict[str, Any]]:
    """Write results as Cohere and Jina do."""
    rows = []
    for result in ranking.results:
        row: dict[str, Any] = {"index": result.index, "relevance_score": result.score}
        if with_text:
            row["document"] = {"text": request.documents[result.index]}
        rows.append(row)
    return rows


def _tei_rank(result: RerankResult, request: RerankRequest) -> dict[str, Any]:
    row: dict[str, Any] = {"index": result.index, "score": result.evidence if request.raw_scores else result.score}
    if request.return_documents:
        row["text"] = request.documents[result.index]
    return row
