"""Map: the documents of a memory as points, those of like meaning near each other."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from zenso.memory import Memory
from zenso.server.api.routing import TheServices
from zenso.server.pages.choices import TheChoice
from zenso.server.pages.projection import Projection, projection_of
from zenso.server.pages.rendering import document_url, render
from zenso.server.responses import Json

router = APIRouter()
Asked = Annotated[str, Query(max_length=2000)]

_LISTED = 200  # documents in the list beside the picture
_GROUPS = 6  # colours, besides that of all others
_FOUND = 10  # documents that are marked for a query


@router.get("/map")
async def show_map(
    request: Request,
    services: TheServices,
    choice: TheChoice,
    group: str = "",
    q: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Show the page; a script draws the points."""
    values: dict[str, object] = {
        "chosen": choice.name,
        "projection": None,
        "listed": [],
        "fields": [],
        "group": group,
        "q": q,
    }
    if choice.memory is not None and (projection := await services.run(projection_of, choice.memory)) is not None:
        order = sorted(projection.points, key=lambda point: (point.x, point.id))
        values |= {"projection": projection, "listed": order[:_LISTED], "fields": projection.fields}
    return render(request, "map.html", values)


@router.get("/map/points")
async def points(services: TheServices, choice: TheChoice, group: str = "", q: Asked = "") -> Response:
    """Return the points, their groups, and where a query lies among them."""
    projection = None if choice.memory is None else await services.run(projection_of, choice.memory)
    if choice.memory is None or projection is None:
        return Json({"points": [], "groups": [], "query": None, "found": []})
    names, numbers = _groups(projection, group)
    rows = [
        [point.x, point.y, number, point.title, document_url(choice.name, point.id)]
        for point, number in zip(projection.points, numbers, strict=True)
    ]
    found = await services.run(_locate, choice.memory, projection, q) if q.strip() else {"query": None, "found": []}
    return Json({"points": rows, "groups": names, **found})


def _groups(projection: Projection, field: str) -> tuple[list[str], list[int]]:
    """Return the most frequent values of a field, and of each point which it has; -1 for others."""
    values = [point.fields.get(field) for point in projection.points]
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))[:_GROUPS]
    place = {name: number for number, name in enumerate(names)}
    return names, [-1 if value is None else place.get(value, -1) for value in values]


def _locate(memory: Memory, projection: Projection, query: str) -> dict[str, object]:
    """Say where a query lies, and which points answer it best."""
    wanted = {hit.id: number for number, hit in enumerate(memory.search(query, _FOUND))}
    number_of = {point.id: number for number, point in enumerate(projection.points) if point.id in wanted}
    x, y = projection.place(memory.encoder.encode_vectors([query])[0])
    return {"query": [x, y], "found": [number_of[name] for name in wanted if name in number_of]}
