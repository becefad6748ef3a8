"""Who may do what: hosts, origins, keys, scopes and rates, looked at before a request's body is read."""

import ipaddress
import logging
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from zenso.errors import StorageError
from zenso.server import keys
from zenso.server.errors import OverloadedError, RequestError
from zenso.server.responses import error_response
from zenso.server.services import Services
from zenso.server.settings import is_loopback

log = logging.getLogger("zenso.server")
COOKIE = "zenso_key"
_OPEN = ("/health", "/static", "/login")  # what a client without a key may ask for, with what is below
# Requests by POST that change nothing; calls of /rpc and /mcp that change something ask for more themselves.
_READING = (
    *("/v1/embeddings", "/embed", "/embed_all", "/similarity", "/tokenize", "/decode", "/predict"),
    *("/v1/score", "/score", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/chat", "/rpc", "/mcp", "/login", "/logout"),
    *("/v1/search", "/v1/verify", "/v1/aggregate", "/v1/experiences/search"),
)
_READING_MEMORY = re.compile(r"/v1/memories/[^/]+/(search|verify|aggregate)/?")
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
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
    """Return the scope that a request needs; what is not known to be harmless needs more."""
    if method in _SAFE:
        return keys.Scope.READ
    if method == "POST" and (path == "/" or _is_below(path, _READING) or _READING_MEMORY.fullmatch(path)):
        return keys.Scope.READ
    if method == "DELETE" and path == "/mcp":  # the end of a session
        return keys.Scope.READ
    if _is_below(path, ("/v1/memories",)) and path.rstrip("/").count("/") <= 3:
        return keys.Scope.ADMIN
    return keys.Scope.WRITE


def _is_below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


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
        address = _address(scope)
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            caller = self._caller(headers, address, path, method)
            self._rates.take(caller.name)
            if not _is_below(path, _OPEN):
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
        if settings.is_public and not settings.hosts:
            return  # keys protect it
        host = _host_name(f"//{headers.get('host', '')}")
        ours = {settings.host.lower(), *(name.lower() for name in settings.hosts)}
        if not (is_loopback(host) or host in ours):
            message = f"the host {host!r} is not served here; add it to `hosts` of zenso.toml"
            raise RequestError(421, message, "unknown_host")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse pages of other sites, which a browser would let send requests in the user's name."""
        origin = headers.get("origin")
        allowed = self._services.settings.cors_origins
        if origin is None or "*" in allowed or origin in allowed or scope["method"] == "OPTIONS":
            return
        # The scheme is left out: behind a proxy that ends TLS, a page of ours has another one.
        _, slashes, place = origin.partition("://")
        if not slashes or place != headers.get("host"):
            message = f"pages of {origin} may not call; add the origin to `cors_origins` of zenso.toml"
            raise RequestError(403, message, "foreign_origin")

    def _caller(self, headers: Headers, address: str, path: str, method: str) -> Caller:
        known = self._services.keys
        text = _given_key(headers)
        try:
            if text is not None and (key := known.find(text)):
                return Caller(key.name, key.scope)
            needed = known.are_needed
        except StorageError as error:
            log.warning("the keys cannot be used", extra={"fields": {"problem": str(error)}})
            message = "the server cannot read its keys; its log says why"
            raise RequestError(503, message, "keys_unreadable") from None
        # A preflight request of a browser never has a key.
        if _is_below(path, _OPEN) or method == "OPTIONS":
            return Caller(address, keys.Scope.READ)
        # Whoever comes from elsewhere came through a proxy, in front of which anybody may be.
        if not needed and not self._services.settings.is_public and is_loopback(address):
            return Caller(address, keys.Scope.ADMIN)
        self._rates.take(address)
        what = "the key is unknown, or its time is over" if text else "this needs a key"
        message = f"{what}; send it as `Authorization: Bearer KEY`, and make one with `zenso keys create`"
        raise RequestError(401, message, "unauthorized")


def _address(scope: Scope) -> str:
    """Return whom a request without a key is counted for: a network of IPv6 is one caller."""
    name = str((scope.get("client") or ("127.0.0.1", 0))[0])
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name  # a proxy may say anything
    if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


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
