"""Status: what runs here, how large it is, and how quickly it answers."""

import time
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from zenso.canonical import engine_name, kernel_bytes, kernel_digest
from zenso.server.api.routing import TheServices
from zenso.server.pages.plots import LatencyPlot
from zenso.server.pages.rendering import render
from zenso.server.services import Services

router = APIRouter()


@router.get("/status")
async def status(request: Request, services: TheServices) -> Response:
    """Show it."""
    return render(request, "status.html", await services.run(_values, services))


def _values(services: Services) -> dict[str, object]:
    models = [
        {
            "name": name,
            "artifact": shared.artifact.digest,
            "bytes": shared.artifact.path.stat().st_size,
            "hidden": shared.artifact.hidden,
            "vocabulary": len(shared.artifact.words),
            "load": shared.load,
        }
        for name, shared in services.shared_encoders.items()
    ]
    plots = [
        LatencyPlot(route, seconds)
        for route, seconds in sorted(services.metrics.recent.items())
        if not route.startswith("/static/")
    ]
    return {
        "uptime": time.time() - services.started,
        "engine": engine_name(),
        "kernel": kernel_digest(),
        "kernel_bytes": len(kernel_bytes()),
        "models": models,
        "memories": {name: asdict(memory.info()) for name, memory in services.memories.items()},
        "plots": plots,
    }
