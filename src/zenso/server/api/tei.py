"""Embedding as the clients of Hugging Face's Text Embeddings Inference ask for it; its /rerank is in rerank.py."""

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from zenso import models
from zenso.canonical import Role, well_formed
from zenso.server.api.inputs import INPUT, Input, encoder_of, token_ids
from zenso.server.api.rerank import MAX_DOCUMENTS
from zenso.server.api.routing import BodyRoute, TheServices, errors
from zenso.server.batching import BATCH_TOKENS
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json
from zenso.zen import ZenEncoder

_SCALE = 32767  # of a canonical vector

router = APIRouter(tags=["TEI"], route_class=BodyRoute, responses=errors(Dialect.TEI))


class _Reading(BaseModel):
    """How texts are read; fields that are not described are passed over."""

    truncate: bool | None = Field(
        default=None, description="texts that are too long are cut, or refused where this is false"
    )
    truncation_direction: Literal["right", "Right"] = "right"
    prompt_name: Literal["query", "document"] | None = Field(
        default=None, description="what the texts are to a search; documents by default"
    )

    @property
    def role(self) -> Role:
        """What the texts are to a search."""
        return Role(self.prompt_name or "document")


class EmbedRequest(_Reading):
    """What to embed."""

    inputs: Input = Field(description=INPUT)
    normalize: bool | None = Field(default=None, description="vectors have length 1, so false is refused")
    dimensions: Literal[384, 1920, 3840, 7680] | None = None


class SimilarityInput(BaseModel):
    """A sentence and those to compare with it."""

    source_sentence: str
    sentences: Annotated[list[str], Field(min_length=1, max_length=MAX_DOCUMENTS)]


class SimilarityRequest(BaseModel):
    """Sentences to compare."""

    inputs: SimilarityInput
    parameters: _Reading | None = None


@router.post("/embed", response_model=list[list[float]])
@router.post("/", response_model=list[list[float]])
async def embed(request: EmbedRequest, services: TheServices) -> Response:
    """Embed texts: one vector each, in their order."""
    if request.normalize is False:
        message = "normalize is false, and there are no vectors of another length than 1; leave it out"
        raise RequestError(400, message, "invalid_request", "normalize")
    encoder = encoder_of(services)
    if request.truncate is False:
        await services.run(_refuse_long, encoder, request.inputs)
    ids = await token_ids(encoder, request.inputs, request.role, "inputs")
    embedded = await services.embed(encoder, ids, request.dimensions or 384, request.role)
    return Json(list(embedded.floats))


@router.post("/similarity", response_model=list[float])
async def similarity(request: SimilarityRequest, services: TheServices) -> Response:
    """Compare a sentence with others: the cosine of their vectors, -1 to 1."""
    options = request.parameters or _Reading()
    texts = [request.inputs.source_sentence, *request.inputs.sentences]
    encoder = encoder_of(services)
    if options.truncate is False:
        await services.run(_refuse_long, encoder, texts)
    ids = await token_ids(encoder, texts, options.role, "inputs")
    vectors = (await services.embed(encoder, ids, 384, options.role)).vectors.astype(np.int64)
    return Json(np.clip(vectors[1:] @ vectors[0] / _SCALE**2, -1, 1))


def _refuse_long(encoder: ZenEncoder, given: Input) -> None:
    """Refuse texts that the model does not read whole."""
    rows = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    tokenizer, most = encoder.splitting_tokenizer, encoder.max_tokens
    for index, row in enumerate(rows):
        inner = tokenizer.encode(well_formed(row), add_special_tokens=False).ids if isinstance(row, str) else row
        tokens = len(inner) + tokenizer.num_special_tokens_to_add(is_pair=False)
        if tokens > most:
            message = f"text {index} has {tokens} tokens, and {most} are read; leave `truncate` out to have it cut"
            raise RequestError(413, message, "too_long", "inputs")


class EmbeddingModel(BaseModel):
    """How token states become a vector."""

    pooling: str


class ModelType(BaseModel):
    """What the model is for."""

    embedding: EmbeddingModel


class Info(BaseModel):
    """The model and the server's limits."""

    model_id: str
    model_sha: str = Field(description="BLAKE3 of the integer weights with their tokenizer")
    model_dtype: str
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int = Field(description="tokens of a text that are read")
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int = Field(description="texts of a request that every route takes")
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


@router.get("/info", response_model=Info)
async def info(services: TheServices) -> Response:
    """Describe the model and the server's limits."""
    encoder = encoder_of(services)
    entry, limits = models.lookup(encoder.name), services.settings.limits
    return Json(
        {
            "model_id": entry.model_id,
            "model_sha": encoder.canonical.artifact.digest.hex(),
            "model_dtype": "int16",
            "model_type": {"embedding": {"pooling": "cls" if entry.pooling == "first" else "mean"}},
            "max_concurrent_requests": limits.queued_requests + limits.worker_threads,
            "max_input_length": encoder.max_tokens,
            "max_batch_tokens": BATCH_TOKENS,
            "max_batch_requests": None,
            "max_client_batch_size": MAX_DOCUMENTS,
            "auto_truncate": True,
            "tokenization_workers": limits.worker_threads,
            "version": services.version,
            "sha": None,
            "docker_label": None,
        }
    )
