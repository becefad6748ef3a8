"""What every module of routes uses: the services of the server, and errors in the description of the API."""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json
from starlette.responses import Response

from zenso.server.access import Caller
from zenso.server.errors import Dialect
from zenso.server.services import Services


class _JsonRequest(Request):
    """A request whose JSON is read strictly: no NaN, no lone surrogates, no deeper than 200 levels."""

    async def json(self) -> Any:  # noqa: ANN401 - whatever JSON can hold
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=False)
            except ValueError as error:
                raise json.JSONDecodeError(str(error), "", 0) from None
        return self._json


class BodyRoute(APIRoute):
    """A route that reads the body ahead of the framework, which would hide why it cannot be read: it is too large."""

    request_class: type[Request] = Request

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            given = self.request_class(request.scope, request.receive)
            if self.body_field is not None:
                await given.body()
            return await answer(given)

        return handle


class JsonRoute(BodyRoute):
    """A route of Zenso's own APIs, whose JSON is read strictly; other APIs take what their clients send."""

    request_class = _JsonRequest


class Strict(BaseModel):
    """A body, or a part of one, that holds what is described and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


MEMORY_NAME = "of the memory; the first one without it"
MemoryName = Annotated[str | None, Query(description=MEMORY_NAME)]


# Coroutines, because FastAPI would call plain functions in a thread, for each request again.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


TheServices = Annotated[Services, Depends(_services)]
TheCaller = Annotated[Caller, Depends(_caller)]


class OpenAiErrorDetail(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiError(BaseModel):
    """An error as OpenAI and vLLM send it."""

    error: OpenAiErrorDetail


class CohereError(BaseModel):
    """An error as Cohere sends it."""

    message: str


class JinaError(BaseModel):
    """An error as Jina sends it."""

    detail: str


class TeiError(BaseModel):
    """An error as TEI sends it."""

    error: str
    error_type: str


class ZensoErrorDetail(BaseModel):
    """What was wrong."""

    code: str
    message: str
    param: str | None


class ZensoErrorBody(BaseModel):
    """An error of Zenso's own routes."""

    error: ZensoErrorDetail


_BODIES: dict[Dialect, Any] = {
    Dialect.OPENAI: OpenAiError,
    Dialect.COHERE: CohereError,
    Dialect.JINA: JinaError | TeiError,  # /rerank speaks as it is spoken to
    Dialect.TEI: TeiError,
    Dialect.ZENSO: ZensoErrorBody,
}


def errors(dialect: Dialect) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of routes for OpenAPI: pass it as ``responses`` to a router."""
    model = _BODIES[dialect]
    described = {
        400: "Something in the request cannot be used.",
        401: "A key is needed.",
        403: "The key's scope does not allow it, or a page of another site asks.",
        404: "What was asked for does not exist.",
        413: "The body is too large.",
        422: "The request is not of the form described here.",
        429: "Too much is waiting already, or too many requests came; see Retry-After.",
        503: "The model cannot be used.",
        504: "It took too long.",
        507: "The disk refuses.",
    }
    return {status: {"model": model, "description": text} for status, text in described.items()}
