"""The application: routes below middleware, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from reprlib import Repr
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

import zenso
from zenso.errors import InputError, ZensoError
from zenso.models import OnProgress, silent
from zenso.server import pages
from zenso.server.access import Access
from zenso.server.api import (
    aggregate,
    chat,
    documents,
    embeddings,
    experiences,
    health,
    memories,
    rerank,
    rpc,
    search,
    tei,
    verify,
)
from zenso.server.batching import CancelledError
from zenso.server.errors import RequestError, as_request_error
from zenso.server.intake import Intake
from zenso.server.keys import KeyFile
from zenso.server.observe import Observe
from zenso.server.pages import network
from zenso.server.pages.rendering import error_page, wants_page
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
    documents.router,
    search.router,
    memories.router,
    verify.router,
    aggregate.router,
    rpc.router,
    health.router,
    pages.router,
)
_NODE_ROUTERS = (experiences.router, network.router)  # where a node runs
_VALUES = Repr()  # a wrong value may be as large as a body
_VALUES.maxstring = _VALUES.maxlong = _VALUES.maxother = 100


def create_app(settings: Settings, on_progress: OnProgress = silent) -> FastAPI:
    """Make the application of a server; its memories are open, and its models are loaded, from here on.

    Raises
    ------
    StorageError
        A memory cannot be used.
    ModelError, IntegrityError
        The language model cannot be used.
    """
    services = Services(settings, on_progress)

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
    app.state.routers = _ROUTERS if services.node is None else (*_ROUTERS, *_NODE_ROUTERS)
    for router in app.state.routers:
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


def check_keys(settings: Settings) -> None:
    """Refuse settings that let strangers in.

    Raises
    ------
    InputError
        The server could be reached by others, and there are no keys.
    StorageError
        The keys cannot be read.
    """
    if KeyFile(settings.keys).list():
        return
    remedy = f"there are no keys in {settings.keys}; make one with `zenso keys create NAME --scope write`"
    if settings.is_public:
        message = f"{settings.host} can be reached by other machines, and {remedy}, or serve on 127.0.0.1"
        raise InputError(message)
    if settings.hosts:
        raise InputError(f"hosts names {settings.hosts[0]!r}, by which others come in, and {remedy}")
    if "*" in settings.cors_origins:
        raise InputError(f"cors_origins lets in the pages of every site, and {remedy}, or name the sites")


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ZensoError)
    refusal = as_request_error(error)
    request.app.state.services.metrics.refuse(refusal.code)
    if wants_page(request):
        return error_page(request, refusal)
    return error_response(refusal, request.url.path, getattr(request.state, "dialect", None))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    if found["type"] == "json_invalid":
        message = f"the body is no JSON that is taken here: {found['ctx']['error']}"
        return await _on_error(request, RequestError(400, message, "invalid_json"))
    place = [str(part) for part in found["loc"] if part != "body"]
    shown = _VALUES.repr(found.get("input"))
    name = ".".join(place)
    message = f"{name}: {found['msg']} (it is {shown})" if name else f"the body: {found['msg']}"
    return await _on_error(request, RequestError(422, message, "invalid_request", name or None))


async def _on_http(request: Request, error: Exception) -> Response:
    """Errors that the framework itself raises: mostly no such route, or no such method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}; see /openapi.json for what there is"
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    response = await _on_error(request, RequestError(error.status_code, message, code))
    response.headers.update(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        response.headers["Allow"] = ", ".join(methods)
    return response


def _methods(request: Request) -> list[str]:
    """Return all methods of a path; the framework names those of one of its routes."""
    routes = [route for router in request.app.state.routers for route in router.routes if isinstance(route, APIRoute)]
    matching = [route for route in routes if route.path_regex.match(request.url.path)]
    return sorted({method for route in matching for method in route.methods or ()})


async def _on_cancelled(request: Request, _: Exception) -> Response:
    return await _on_error(request, RequestError(503, "the request was given up", "cancelled"))
