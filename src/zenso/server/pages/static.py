"""Style sheets and scripts, under an address that changes with them, so that browsers may keep them for ever."""

from pathlib import Path

from blake3 import blake3
from fastapi import APIRouter
from starlette.responses import Response

from zenso.server.errors import RequestError

router = APIRouter()

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {
    path.name: path.read_bytes()
    for path in sorted((Path(__file__).parent / "static").iterdir())
    if path.suffix in _TYPES
}
VERSION = blake3(b"".join(name.encode() + data for name, data in _FILES.items())).hexdigest(length=6)
FOR_EVER = "private, max-age=31536000, immutable"


def static_url(name: str) -> str:
    """Return the address of a file."""
    assert name in _FILES, name
    return f"/static/{VERSION}/{name}"


@router.get("/static/{version}/{name}")
async def static_file(version: str, name: str) -> Response:
    """Return a file; needs no key."""
    if name not in _FILES:
        raise RequestError(404, f"there is no file {name!r}", "not_found")
    kept = FOR_EVER if version == VERSION else "no-cache"
    return Response(_FILES[name], media_type=_TYPES[Path(name).suffix], headers={"Cache-Control": kept})
