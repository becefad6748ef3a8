"""The network: peers, records by domain, reputations, and what was refused and why."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from zenso.server.api.routing import TheServices
from zenso.server.pages.rendering import render
from zenso.server.services import Services

router = APIRouter(include_in_schema=False)


@router.get("/network")
async def network(request: Request, services: TheServices) -> Response:
    """Show it."""
    return render(request, "network.html", await services.run(_values, services))


def _values(services: Services) -> dict[str, object]:
    node = services.the_node()
    return {"node": node.status(), "peers": node.peers(), "creators": node.creators()}
