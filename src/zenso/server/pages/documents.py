"""Documents: a list in pages, and each of them to read, and to delete by who may."""

import json
from typing import Annotated
from urllib.parse import urlencode

from blake3 import blake3
from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from zenso.errors import InputError
from zenso.memory import Document, Memory
from zenso.server.api.routing import TheCaller, TheServices
from zenso.server.errors import RequestError
from zenso.server.keys import Scope
from zenso.server.pages.choices import TheChoice, TheFilter, form_values
from zenso.server.pages.filters import as_where
from zenso.server.pages.rendering import render, with_query

router = APIRouter()

_ON_A_PAGE = 25
_EXCERPT = 280  # characters


@router.get("/documents")
async def list_documents(
    request: Request,
    services: TheServices,
    choice: TheChoice,
    rows: TheFilter,
    page: Annotated[int, Query(ge=1, le=10**9)] = 1,
    id: str | None = None,  # noqa: A002 - of the API
) -> Response:
    """Show a page of the list; with an id, that document."""
    if id is not None:
        return await read_document(id, request, services, choice)
    values: dict[str, object] = {"documents": [], "total": 0, "page": page, "pages": 1, "problem": None}
    if choice.memory is not None:
        try:
            total, shown = await services.run(_page, choice.memory, as_where(rows), page)
            values |= {"documents": shown, "total": total, "pages": max(1, -(-total // _ON_A_PAGE))}
        except InputError as error:
            values["problem"] = str(error)
    values |= await services.run(form_values, choice, rows)
    pairs = request.query_params.multi_items()
    values["page_url"] = lambda number: with_query("/documents", pairs, page=number)
    return render(request, "documents.html", values)


@router.get("/documents/{document_id:path}")
async def read_document(document_id: str, request: Request, services: TheServices, choice: TheChoice) -> Response:
    """Show a document, what it carries, and where its embedding comes from."""
    memory = choice.memory
    found = None if memory is None else await services.run(memory.get, document_id)
    if memory is None or found is None:
        raise RequestError(404, f"there is no document {document_id!r} in the memory {choice.name!r}", "not_found")
    details = await services.run(_details, memory, found)
    return render(request, "document.html", {"document": found, "chosen": choice.name, **details})


@router.post("/documents/delete")
async def delete_document(
    services: TheServices,
    caller: TheCaller,
    memory: Annotated[str, Form()],
    id: Annotated[str, Form()],  # noqa: A002
) -> Response:
    """Delete a document, and go back to the list."""
    caller.require(Scope.WRITE)
    await services.run(services.memory(memory).delete, id)
    return RedirectResponse("/documents?" + urlencode({"memory": memory}), 303)


def _page(memory: Memory, where: dict[str, object] | None, page: int) -> tuple[int, list[dict[str, object]]]:
    """Return how many documents there are, and those of a page, the latest first."""
    start = (page - 1) * _ON_A_PAGE
    if where is None:
        ids = memory.ids()[::-1]
        total, documents = len(ids), memory.find({"$ids": ids[start : start + _ON_A_PAGE]})[::-1]
    else:
        matching = memory.find(where)[::-1]
        total, documents = len(matching), matching[start : start + _ON_A_PAGE]
    return total, [
        {"document": one, "excerpt": _excerpt(one.text), "digest": blake3(one.text.encode()).digest()}
        for one in documents
    ]


def _excerpt(text: str) -> str:
    return text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else "")


def _details(memory: Memory, document: Document) -> dict[str, object]:
    vector = memory.vectors(document.id).get(document.id)
    data = b"" if vector is None else vector.astype("<i2").tobytes()
    provenance = memory.info().provenance or {}
    return {
        "text_digest": blake3(document.text.encode()).digest(),
        "vector_digest": blake3(data).digest() if data else None,
        "metadata": {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in document.metadata.items()
        },
        "provenance": {**provenance.get("model", {}), **{k: v for k, v in provenance.items() if k != "model"}},
    }
