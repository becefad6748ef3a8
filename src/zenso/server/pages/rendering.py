"""Templates into pages: everything that is shown is escaped, whoever wrote it."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from zenso.server.errors import RequestError
from zenso.server.keys import Scope
from zenso.server.pages.glyph import glyph_path
from zenso.server.pages.static import static_url

NAVIGATION = (
    ("/", "Search"),
    ("/documents", "Documents"),
    ("/indexing", "Indexing"),
    ("/map", "Map"),
    ("/verify", "Verify"),
    ("/status", "Status"),
)


def render(request: Request, template: str, values: Mapping[str, object], status: int = 200) -> Response:
    """Answer with a page.

    Parameters
    ----------
    template : str
        Name of a file in ``templates``.
    values : mapping
        What the template shows; besides it knows ``services``, ``caller``, what the caller may, and the names
        of this module.
    """
    caller = getattr(request.state, "caller", None)
    services = request.app.state.services
    shared = {
        "services": services,
        "caller": caller,
        "needs_key": services.keys.are_needed,
        "may_write": caller is not None and caller.scope.includes(Scope.WRITE),
        "path": request.url.path,
        "navigation": (*NAVIGATION, *((("/network", "Network"),) if services.node is not None else ())),
    }
    text = _ENVIRONMENT.get_template(template).render(shared | dict(values))
    # The pages show what a memory holds now, and only to who may see it.
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


def wants_page(request: Request) -> bool:
    """Whether a person asks with a browser."""
    return "text/html" in request.headers.get("accept", "")


def error_page(request: Request, error: RequestError) -> Response:
    """Answer with an error for people."""
    phrase = HTTPStatus(error.status).phrase if error.status in set(HTTPStatus) else "Error"
    return render(request, "error.html", {"error": error, "phrase": phrase}, error.status)


def document_url(memory: str, document_id: str) -> str:
    """Return the address of the page of a document."""
    if document_id in (".", ".."):  # browsers would take these for steps
        return "/documents?" + urlencode({"memory": memory, "id": document_id})
    return f"/documents/{quote(document_id, safe='')}?" + urlencode({"memory": memory})


def with_query(path: str, pairs: list[tuple[str, str]], **changes: object) -> str:
    """Return an address with a query, some of its values replaced."""
    kept = [(name, value) for name, value in pairs if name not in changes and value]
    return f"{path}?" + urlencode([*kept, *((name, str(value)) for name, value in changes.items())])


def bytes_text(count: float) -> str:
    """Write a number of bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds_text(seconds: float) -> str:
    """Write a time with a unit."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes} min" if hours < 2 else f"{hours} h {minutes % 60} min"


_ENVIRONMENT = Environment(
    loader=PackageLoader("zenso.server.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals |= {
    "static_url": static_url,
    "document_url": document_url,
    "glyph_path": glyph_path,
}
_ENVIRONMENT.filters |= {"bytes": bytes_text, "seconds": seconds_text, "count": lambda number: f"{number:,}"}
