"""The application: routes below middleware, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

import zenso
from zenso.errors import InputError, ZensoError
from zenso.models import OnProgress, silent
from zenso.server.access import Access
from zenso.server.api import chat, embeddings, health, rerank, tei
from zenso.server.batching import CancelledError
from zenso.server.errors import RequestError, as_request_error
from zenso.server.intake import Intake
from zenso.server.observe import Observe
from zenso.server.responses import error_response
from zenso.server.services import Services
from zenso.server.settings import Settings

if TYPE_CHECKING:
    from zenso.server.mcp import AgentTools

_ROUTERS = (
    embeddings.router,
    chat.router,
    rerank.router,
    tei.router,
    health.router,
)
_LONGEST_VALUE = 100  # characters of a wrong value that an error repeats


def create_app(settings: Settings, on_progress: OnProgress = silent) -> ASGIApp:
    """Make the application of a server; its memories are open, and its models are loaded, from here on.

    Raises
    ------
    InputError
        The address can be reached by others, and there are no keys.
    StorageError
        A memory cannot be used.
    ModelError, IntegrityError
        The language model cannot be used.
    """
    services = Services(settings, on_progress)
    if settings.is_public and not services.keys.list():
        services.close()
        raise InputError(
            f"{settings.host} can be reached by other machines, and there are no keys in {settings.keys}; make one "
            "with `zenso keys create NAME --scope write`, or serve on 127.0.0.1"
        )

    tools = _agent_tools(services)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with tools.running() if tools is not None else nullcontext():
            yield
        await run_in_threadpool(services.close)

    app = FastAPI(
        title="Zenso",
        version=zenso.__version__,
        description="Canonical embeddings, reranking and search over memories.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.services = services
    for router in _ROUTERS:
        app.include_router(router)
    if tools is not None:
        app.router.routes.extend(tools.routes)
    app.add_exception_handler(ZensoError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(CancelledError, _on_cancelled)
    # The outermost comes last.
    app.add_middleware(Intake, services=services)
    app.add_middleware(Access, services=services)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
        )
    app.add_middleware(Observe, services=services)
    return app


def _agent_tools(services: Services) -> "AgentTools | None":
    """Return the tools of /mcp, where the extra that they need is installed."""
    try:
        from zenso.server.mcp import AgentTools  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return AgentTools(services)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ZensoError)
    refusal = as_request_error(error)
    request.app.state.services.metrics.refuse(refusal.code)
    return error_response(refusal, request.url.path, getattr(request.state, "dialect", None))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    place = [str(part) for part in found["loc"] if part != "body"]
    value = repr(found.get("input"))
    shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
    name = ".".join(place)
    message = f"{name}: {found['msg']} (it is {shown})" if name else f"the body: {found['msg']}"
    return await _on_error(request, RequestError(422, message, "invalid_request", name or None))


async def _on_http(request: Request, error: Exception) -> Response:
    """Errors that the framework itself raises: no such route, or no such method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}; see /openapi.json for what there is"
    response = await _on_error(request, RequestError(error.status_code, message, "not_found"))
    response.headers.update(error.headers or {})
    return response


async def _on_cancelled(request: Request, _: Exception) -> Response:
    return await _on_error(request, RequestError(503, "the request was given up", "cancelled"))
