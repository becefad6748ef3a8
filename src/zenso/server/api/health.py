"""Whether the server lives, and what it counts."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from zenso.server.api.routing import TheServices, errors
from zenso.server.errors import Dialect
from zenso.server.responses import Json

router = APIRouter(tags=["Operation"], responses=errors(Dialect.ZENSO))


class Health(BaseModel):
    """The server answers."""

    status: str


@router.get("/health", response_model=Health)
async def health() -> Response:
    """Say that the server answers; needs no key."""
    return Json({"status": "ok"})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: TheServices) -> Response:
    """Return counts and times in Prometheus' text format."""
    return Response(await run_in_threadpool(services.metrics.text), media_type=CONTENT_TYPE_LATEST)
