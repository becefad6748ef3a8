"""Documents of a memory: added, read, listed and deleted."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, WithJsonSchema
from pydantic_core import from_json
from starlette.responses import Response

from zenso.errors import InputError
from zenso.memory import Document, Memory
from zenso.memory.documents import MAX_ID_CHARACTERS, text_id
from zenso.server.api.imports import NDJSON, take_import
from zenso.server.api.routing import MEMORY_NAME, JsonRoute, MemoryName, Strict, TheServices, errors
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json, Stream

MAX_DOCUMENTS = 1000  # of one request; an import takes any number
MAX_PAGE = 1000

_VALUES = [{"type": kind} for kind in ("string", "integer", "number", "boolean", "null")]
_METADATA = {
    "type": "object",
    "additionalProperties": {"anyOf": [*_VALUES, {"type": "array", "items": {"anyOf": _VALUES}}]},
    "description": "texts, numbers, booleans, null, or lists of these; no name is empty or begins with $",
}
# What they may hold is checked by the memory, whose messages say more.
Metadata = Annotated[dict[str, Any], WithJsonSchema(_METADATA)]
Where = Annotated[
    dict[str, Any],
    Field(
        description="a filter on metadata: values, $eq $ne $gt $gte $lt $lte $in $nin $contains $icontains $exists "
        '$empty on fields, $and $or $not on filters, and {"$ids": [...]}',
        examples=[{"lang": "en", "year": {"$gte": 2020}}],
    ),
]
WhereText = Annotated[str | None, Query(description="a filter on metadata, as JSON", examples=['{"lang": "en"}'])]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]

router = APIRouter(tags=["Documents"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))


class NewDocument(Strict):
    """A text to store."""

    text: Annotated[str, Field(min_length=1)]
    id: Annotated[Id | None, Field(description="a stored document of it is replaced; made of the text without it")] = (
        None
    )
    metadata: Metadata | None = None


class AddRequest(Strict):
    """Texts to store."""

    documents: Annotated[list[NewDocument], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    memory: Annotated[str | None, Field(description=MEMORY_NAME)] = None


class Added(Strict):
    """The ids of the texts, in their order; all of them are safe on disk."""

    ids: list[str]


class StoredDocument(Strict):
    """A document; ``source`` is the file that it was indexed from."""

    id: str
    text: str
    metadata: Metadata
    source: str | None


class DocumentPage(Strict):
    """Documents in the order in which they were added; ``next`` is the cursor of the page that follows."""

    documents: list[StoredDocument]
    next: str | None


class DeleteRequest(Strict):
    """Which documents to delete: those of ids, or those that a filter matches; ``{}`` matches all."""

    ids: Annotated[list[Id] | None, Field(max_length=100_000)] = None
    where: Where | None = None
    memory: Annotated[str | None, Field(description=MEMORY_NAME)] = None


class Deleted(Strict):
    """How many documents there were."""

    deleted: int


@router.post("/v1/documents", response_model=Added)
async def add_documents(request: AddRequest, services: TheServices) -> Response:
    """Store texts; the answer comes when they are safe on disk.

    A stored document of the same id is replaced. All of the request is checked before anything is stored.
    """
    memory = services.memory(request.memory)
    given = [document.id for document in request.documents if document.id is not None]
    if len(set(given)) < len(given):
        twice = next(name for place, name in enumerate(given) if name in given[:place])
        raise RequestError(400, f"the id {twice!r} is given twice; give each once", "invalid_request", "documents")
    return Json({"ids": await services.run(_add, memory, request.documents)})


@router.get("/v1/documents", response_model=DocumentPage)
async def list_documents(
    services: TheServices,
    memory: MemoryName = None,
    where: WhereText = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="at most; fewer where texts are long")] = 100,
    cursor: Annotated[str, Query(pattern="^[0-9]{1,18}$", description="`next` of the page before")] = "0",
) -> Response:
    """List documents a page at a time."""
    page = await services.run(services.memory(memory).page, read_where(where), after=int(cursor), limit=limit)
    return Json(
        {
            "documents": [written(document) for document in page.documents],
            "next": None if page.next is None else str(page.next),
        }
    )


@router.post("/v1/documents/delete", response_model=Deleted)
async def delete_documents(request: DeleteRequest, services: TheServices) -> Response:
    """Delete documents by ids or by a filter; ids that are not stored are passed over."""
    memory = services.memory(request.memory)
    if (request.ids is None) == (request.where is None):
        raise RequestError(400, "give either `ids` or `where`", "invalid_request")
    if request.ids is not None:
        deleted = await services.run(memory.delete, request.ids)
    else:
        deleted = await services.run(memory.delete_where, request.where or {})
    return Json({"deleted": deleted})


router.add_api_route(
    "/v1/documents/import",
    take_import,
    methods=["POST"],
    name="import_documents",
    response_class=Stream,
    responses={200: {"content": {NDJSON: {}, "text/event-stream": {}}, "description": "How far it is, as it goes."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                NDJSON: {"schema": {"type": "string"}, "example": '{"id": "a", "text": "Bread needs time."}\n'}
            },
        }
    },
)


@router.get(
    "/v1/documents/export",
    response_class=Stream,
    responses={200: {"content": {NDJSON: {}}, "description": "A line of JSON for each document."}},
)
async def export_documents(services: TheServices, memory: MemoryName = None, where: WhereText = None) -> Response:
    """Send all documents, or those that a filter matches, as lines of JSON that an import takes.

    They are read a page at a time: of what is added or deleted meanwhile some may be there and some not.
    """
    source, condition = services.memory(memory), read_where(where)
    first = await services.run(
        source.page, condition, limit=MAX_PAGE
    )  # a wrong filter is told before the answer begins

    async def lines() -> AsyncIterator[bytes]:
        page = first
        while True:
            yield b"".join(_line(document) for document in page.documents)
            if page.next is None:
                return
            page = await services.run(source.page, condition, after=page.next, limit=MAX_PAGE)

    return Stream(lines(), media_type=NDJSON)


# The paths above come first: an id may hold slashes, and be any of their last words.
@router.get("/v1/documents/{id:path}", response_model=StoredDocument)
async def get_document(id: str, services: TheServices, memory: MemoryName = None) -> Response:  # noqa: A002
    """Return one document.

    An id may hold any characters, percent-encoded; what clients change on the way (`..`), or is the name of another
    route (`export`), is found by listing with `where={"$ids": [...]}`.
    """
    return Json(written(await services.run(find, services.memory(memory), id)))


@router.delete("/v1/documents/{id:path}", response_model=Deleted)
async def delete_document(id: str, services: TheServices, memory: MemoryName = None) -> Response:  # noqa: A002
    """Delete one document."""
    deleted = await services.run(services.memory(memory).delete, id)
    if not deleted:
        raise _unknown(id)
    return Json({"deleted": deleted})


def find(memory: Memory, document_id: str) -> Document:
    """Return a document.

    Raises
    ------
    RequestError
        404: there is none of that id.
    """
    document = memory.get(document_id)
    if document is None:
        raise _unknown(document_id)
    return document


def written(document: Document) -> dict[str, object]:
    """Return a document as it is sent."""
    source = document.source
    if source is not None:  # a path need not be UTF-8
        source = source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {"id": document.id, "text": document.text, "metadata": document.metadata, "source": source}


def read_where(text: str | None) -> Mapping[str, object] | None:
    """Read a filter that stands in an address.

    Raises
    ------
    InputError
        It is no JSON object.
    """
    if text is None:
        return None
    try:
        where = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"where is {text[:100]!r}, which is no JSON ({error})") from None
    if not isinstance(where, dict):
        raise InputError(f"where is {text[:100]!r}; give a JSON object such as {json.dumps({'lang': 'en'})}")
    return where


def _unknown(document_id: str) -> RequestError:
    return RequestError(404, f"there is no document {document_id!r}", "document_not_found", "id")


def _add(memory: Memory, documents: Sequence[NewDocument]) -> list[str]:
    return memory.add(
        [document.text for document in documents],
        ids=[text_id(document.text) if document.id is None else document.id for document in documents],
        metadata=[document.metadata or {} for document in documents],
    )


def _line(document: Document) -> bytes:
    fields = {"id": document.id, "text": document.text, "metadata": document.metadata}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
