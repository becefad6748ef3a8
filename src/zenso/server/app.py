"""The application: routes below middleware, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

import zenso
from zenso.errors import InputError, ZensoError
from zenso.server import pages
from zenso.server.access import Access
from zenso.server.api import embeddings, health
from zenso.server.batching import CancelledError
from zenso.server.errors import RequestError, as_request_error
from zenso.server.intake import Intake
from zenso.server.observe import Observe
from zenso.server.pages.rendering import error_page, wants_page
from zenso.server.responses import error_response
from zenso.server.services import Services
from zenso.server.settings import Settings

_ROUTERS = (
    embeddings.router,
    health.router,
    pages.router,
)
_LONGEST_VALUE = 100  # characters of a wrong value that an error repeats


def create_app(settings: Settings) -> FastAPI:
    """Make the application of a server; its memories are open from here on.

    Raises
    ------
    InputError
        The address can be reached by others, and there are no keys.
    StorageError
        A memory cannot be used.
    """
    services = Services(settings)
    if settings.is_public and not services.keys.list():
        services.close()
        raise InputError(
            f"{settings.host} can be reached by other machines, and there are no keys in {settings.keys}; make one "
            "with `zenso keys create NAME --scope write`, or serve on 127.0.0.1"
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
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
