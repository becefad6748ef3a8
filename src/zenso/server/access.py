"""Who may do what: hosts, origins, keys, scopes and rates, looked at before a request's body is read."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from zenso.server import keys
from zenso.server.errors import OverloadedError, RequestError
from zenso.server.responses import error_response
from zenso.server.services import Services
from zenso.server.settings import is_loopback

COOKIE = "zenso_key"
_OPEN = ("/health", "/static/", "/login")  # what a client without a key may ask for
# Requests by POST that change nothing; calls of /rpc and /mcp that change something ask for more themselves.
_READING = (
    *("/v1/embeddings", "/embed", "/v1/chat/", "/v1/search", "/v1/verify", "/v1/aggregate", "/v1/experiences/search"),
    *("/similarity", "/v1/score", "/score", "/v1/rerank", "/v2/rerank", "/rerank", "/rpc", "/mcp", "/login", "/logout"),
)
_MANAGING = ("/v1/memories",)
_MOST_CALLERS = 10_000  # whose rates are remembered


@dataclass(frozen=True)
class Caller:
    """Who a request is from."""

    name: str  # of the key, or the address
    scope: keys.Scope

    def require(self, scope: keys.Scope) -> None:
        """Refuse a caller who may not do something.

        Raises
        ------
        RequestError
            403.
        """
        if not self.scope.includes(scope):
            message = f"this needs a key of scope {scope.value}; the key {self.name!r} has scope {self.scope.value}"
            raise RequestError(403, message, "forbidden")


def needed_scope(method: str, path: str) -> keys.Scope:
    """Return the scope that a request needs."""
    if method in ("GET", "HEAD", "OPTIONS") or path == "/" or path.startswith(_READING):
        return keys.Scope.READ
    if path.rstrip("/") in _MANAGING or (path.startswith(_MANAGING) and path.count("/") == 3):
        return keys.Scope.ADMIN
    return keys.Scope.WRITE


class Access:
    """Middleware that lets in who may come in, and leaves a ``Caller`` in the request's state."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._rates = _Rates(services.settings.limits.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            caller = self._caller(scope, headers, path, method)
            self._rates.take(caller.name)
            if not path.startswith(_OPEN):
                caller.require(needed_scope(method, path))
        except RequestError as error:
            self._services.metrics.refuse(error.code)
            wants_page = method == "GET" and "text/html" in headers.get("accept", "")
            if error.status == 401 and wants_page:
                await RedirectResponse("/login", 303)(scope, receive, send)
                return
            await error_response(error, path)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not ours: a page elsewhere can point its own name at this machine."""
        settings = self._services.settings
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if settings.is_public and not settings.hosts:
            return  # keys protect it
        if not (is_loopback(host) or host in settings.hosts or host == settings.host):
            message = f"the host {host!r} is not served here; add it to `hosts` of zenso.toml"
            raise RequestError(421, message, "unknown_host")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse pages of other sites, which a browser would let send requests in the user's name."""
        origin = headers.get("origin")
        allowed = self._services.settings.cors_origins
        if origin is None or "*" in allowed or origin in allowed:
            return
        if urlsplit(origin).netloc != headers.get("host") and scope["method"] != "OPTIONS":
            message = f"pages of {origin} may not call; add the origin to `cors_origins` of zenso.toml"
            raise RequestError(403, message, "foreign_origin")

    def _caller(self, scope: Scope, headers: Headers, path: str, method: str) -> Caller:
        address = scope["client"][0] if scope.get("client") else "local"
        known = self._services.keys
        text = _given_key(headers)
        if text is not None and (key := known.find(text)):
            return Caller(key.name, key.scope)
        # A preflight request of a browser never has a key.
        if path.startswith(_OPEN) or method == "OPTIONS":
            return Caller(address, keys.Scope.READ)
        if not known.list() and not self._services.settings.is_public:
            return Caller(address, keys.Scope.ADMIN)
        what = "the key is unknown, or its time is over" if text else "this needs a key"
        message = f"{what}; send it as `Authorization: Bearer KEY`, and make one with `zenso keys create`"
        raise RequestError(401, message, "unauthorized")


def _given_key(headers: Headers) -> str | None:
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    if key := headers.get("x-api-key"):
        return key
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


class _Rates:
    """Token buckets, one a caller, each as large as what flows into it in ten seconds."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._size = max(1.0, self._per_second * 10)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        if not self._per_second:
            return
        now = time.monotonic()
        level, then = self._buckets.pop(name, (self._size, now))
        level = min(self._size, level + (now - then) * self._per_second)
        self._buckets[name] = (level - 1 if level >= 1 else level, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        if level < 1:
            seconds = (1 - level) / self._per_second
            raise OverloadedError(f"{name} has sent too many requests", seconds, "rate_limited")
