"""OpenAI's embeddings and list of models."""

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response

from zenso.canonical import Role
from zenso.server.api.inputs import INPUT, Input, encoder_of, token_ids
from zenso.server.api.routing import BodyRoute, TheServices, errors
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json
from zenso.server.services import Services

router = APIRouter(tags=["OpenAI"], route_class=BodyRoute, responses=errors(Dialect.OPENAI))


class EmbeddingsRequest(BaseModel):
    """What to embed, as OpenAI's clients send it; fields that are not here are passed over."""

    input: Input = Field(description=INPUT)
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
    encoder = encoder_of(services, request.model)
    role = Role(request.input_type)
    ids = await token_ids(encoder, request.input, role, "input")
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


def _written(row: NDArray[np.float32], encoding: str) -> NDArray[np.float32] | str:
    return row if encoding == "float" else base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
