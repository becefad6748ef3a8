"""The memories that are served, and new ones."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from zenso.memory import Memory
from zenso.server.api.routing import JsonRoute, Strict, TheServices, ZensoErrorBody, errors
from zenso.server.errors import Dialect
from zenso.server.responses import Json
from zenso.server.settings import Name

router = APIRouter(tags=["Memories"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))


class MemoryDescription(Strict):
    """A memory; ``provenance`` says what made its embeddings, and is null while there are none."""

    name: str
    is_default: bool
    documents: int
    sources: int
    bytes_on_disk: int
    segments: int
    generation: int
    schema_version: int
    model: str
    provenance: dict[str, Any] | None


class MemoryList(Strict):
    """The memories, the default one first."""

    memories: list[MemoryDescription]


class NewMemory(Strict):
    """A memory to be made, in a folder of its name that the server chooses."""

    name: Annotated[Name, Field(description="letters, digits, dot, underscore and hyphen")]


@router.get("/v1/memories", response_model=MemoryList)
async def list_memories(services: TheServices) -> Response:
    """List the memories that are served."""
    memories = services.memories
    return Json({"memories": [await services.run(_described, memories, name) for name in memories]})


@router.get("/v1/memories/{name}", response_model=MemoryDescription)
async def get_memory(name: str, services: TheServices) -> Response:
    """Describe one memory."""
    services.memory(name)
    return Json(await services.run(_described, services.memories, name))


@router.post(
    "/v1/memories",
    response_model=MemoryDescription,
    responses={409: {"model": ZensoErrorBody, "description": "The name is in use, or no memories can be made."}},
)
async def create_memory(request: NewMemory, services: TheServices) -> Response:
    """Make a memory below the folder that the settings name; needs a key of scope admin."""
    await services.run(services.add_memory, request.name)
    return await get_memory(request.name, services)


def _described(memories: dict[str, Memory], name: str) -> dict[str, Any]:
    info = asdict(memories[name].info())
    del info["path"]  # of no use to others, and not theirs to know
    return {"name": name, "is_default": next(iter(memories)) == name, **info}
