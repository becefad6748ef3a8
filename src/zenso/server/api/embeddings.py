"""OpenAI's embeddings and list of models."""

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from zenso import models
from zenso.canonical import Role
from zenso.errors import InputError, ModelError
from zenso.server.api.routing import JsonRoute, TheServices, errors
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json
from zenso.server.services import Services
from zenso.zen import ZenEncoder

MAX_INPUTS = 2048
_INLINE_CHARACTERS = 2_000  # that are tokenized at once; more would hold up other requests

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute, responses=errors(Dialect.OPENAI))
Tokens = Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """What to embed, as OpenAI's clients send it; fields that are not here are passed over."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_INPUTS)]
    ) = Field(description="a text, texts, token ids of the model, or several lists of them")
    model: str = Field(default="", description="a model of `/v1/models`; the server's own where it is unknown")
    dimensions: Literal[384, 1920, 3840, 7680] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    input_type: Literal["document", "query"] = Field(
        default="document", description="what the texts are to a search; an extension"
    )
    user: str | None = None


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


@router.post("/v1/embeddings", response_model=EmbeddingsResponse)
async def create_embeddings(request: EmbeddingsRequest, services: TheServices) -> Response:
    """Embed texts; the same text gives the same bits on every machine."""
    encoder = await _encoder(services, request.model)
    role = Role(request.input_type)
    ids = await _token_ids(encoder, request.input, role)
    embedded = await services.embed(encoder, ids, request.dimensions or 384, role)
    tokens = int(embedded.token_counts.sum())
    return Json(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _written(row, request.encoding_format)}
                for index, row in enumerate(embedded.floats)
            ],
            "model": encoder.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


class Model(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models."""

    object: Literal["list"]
    data: list[Model]


@router.get("/v1/models", response_model=ModelList)
async def list_models(services: TheServices) -> Response:
    """List the models that this server runs."""
    return Json({"object": "list", "data": [_model(name, services) for name in services.model_names]})


@router.get("/v1/models/{name:path}", response_model=Model)
async def get_model(name: str, services: TheServices) -> Response:
    """Describe one model."""
    if name not in services.model_names:
        known = ", ".join(services.model_names)
        raise RequestError(404, f"there is no model {name!r} here; there are: {known}", "model_not_found", "model")
    return Json(_model(name, services))


def _model(name: str, services: Services) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(services.started), "owned_by": "zenso"}


async def _encoder(services: Services, name: str) -> ZenEncoder:
    """Return the encoder of a model of the catalogue, or the server's own for any other name."""
    try:
        wanted = models.lookup(name).name
    except ModelError:
        wanted = models.lookup(services.settings.model).name
    if wanted in services.shared_encoders:
        return services.encoder(wanted)
    return await run_in_threadpool(services.encoder, wanted)


async def _token_ids(
    encoder: ZenEncoder, given: str | list[str] | list[int] | list[list[int]], role: Role
) -> list[NDArray[np.int32]]:
    if isinstance(given, str):
        given = [given]
    if isinstance(given[0], int):
        given = [given]
    if isinstance(given[0], list):
        return [_checked_ids(encoder, row) for row in given]
    texts: list[str] = given
    if sum(map(len, texts)) <= _INLINE_CHARACTERS:
        return _tokenized(encoder, texts, role)
    return await run_in_threadpool(_tokenized, encoder, texts, role)


def _checked_ids(encoder: ZenEncoder, row: list[int]) -> NDArray[np.int32]:
    try:
        return encoder.canonical.check_ids(row)
    except InputError as error:
        raise RequestError(400, str(error), "invalid_request", "input") from None


def _tokenized(encoder: ZenEncoder, texts: list[str], role: Role) -> list[NDArray[np.int32]]:
    try:
        return [row for part in encoder.canonical.tokenize(texts, role) for row in part]
    except InputError as error:
        raise RequestError(400, str(error), "invalid_request", "input") from None


def _written(row: NDArray[np.float32], encoding: str) -> NDArray[np.float32] | str:
    return row if encoding == "float" else base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
