"""Each request leaves a line in the log and a count in the metrics; texts of documents and queries never do."""

import json
import logging
import secrets
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zenso.server.errors import RequestError
from zenso.server.responses import error_response
from zenso.server.services import Services
from zenso.server.settings import Logging

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger("zenso.server")
_CLIENT_LEFT = 499  # before an answer; as other servers log it
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    # Addresses hold queries. With no-referrer the forms of our own pages would come from the origin "null".
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", _POLICY.encode()),
)


class Observe:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and take note of how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        request = _Request(scope, receive, send)
        self._services.metrics.begin()
        known = {"http.request.method": scope["method"], "url.scheme": scope["scheme"], "zenso.request": request.id}
        with self._services.tracer.request(scope, known) as span:
            try:
                await self._answer(scope, request)
            finally:
                self._note(scope, request, time.monotonic() - began, span)

    async def _answer(self, scope: Scope, request: "_Request") -> None:
        try:
            await self._app(scope, request.receive, request.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the rest
            log.error(  # noqa: TRY400 - the error's own words may quote a document
                "a bug: please report it",
                extra={"fields": {"request": request.id, "error": type(error).__name__}, "trace": _trace(error)},
            )
            if request.status:
                raise _BrokenOffError from None
            message = f"something went wrong in the server; its log has more about request {request.id}"
            refusal = error_response(RequestError(500, message, "bug"), scope["path"])
            await refusal(scope, request.receive, request.send)

    def _note(self, scope: Scope, request: "_Request", seconds: float, span: "Span | None") -> None:
        status = request.status or _CLIENT_LEFT
        route = getattr(scope.get("route"), "path", "other")
        self._services.metrics.observe(route, scope["method"], status, seconds)
        if span is not None:
            span.update_name(f"{scope['method']} {route}")
            span.set_attributes({"http.route": route, "http.response.status_code": status})
        caller = scope.get("state", {}).get("caller")
        fields = {
            "request": request.id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
            "bytes": request.sent,
            "caller": caller.name if caller else None,
        }
        log.info("request", extra={"fields": fields})


class _BrokenOffError(Exception):
    """An answer cannot be completed: the connection is closed, so that the client sees that something is missing."""


class _Request:
    """What is seen of a request as it passes."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = secrets.token_hex(8)
        self.status = self.sent = 0
        self._receive = receive
        self._send = send
        names = {name for name, _ in scope["headers"]}
        self._is_read = not names & {b"content-length", b"transfer-encoding"}

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], *_HEADERS, (b"x-request-id", self.id.encode())]
            if not self._is_read:
                headers.append((b"connection", b"close"))  # or a refused body would be received to its end
            message = {**message, "headers": headers}
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)


def _trace(error: BaseException) -> str:
    """Return where an error came from, without its message."""
    return "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__


def configure_logging(settings: Logging) -> None:
    """Send the log of the server to standard error, a line for each event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if settings.format == "json" else _TextLines())
    for name in ("zenso.server", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(settings.level.upper())
        logger.propagate = False
    root = logging.getLogger()
    root.handlers[:] = [handler]  # libraries would have their own, in forms of their own
    root.setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.ERROR)  # its warnings repeat what clients sent
    logging.getLogger("uvicorn.access").disabled = True  # it would log queries in addresses


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if trace := _trace_of(record):
            line["trace"] = trace
        return json.dumps(line, ensure_ascii=False)


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "  ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}  {fields}".rstrip()
        return f"{line}\n{trace}" if (trace := _trace_of(record)) else line


def _trace_of(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if record.exc_info else None
    return _trace(error) if error is not None else getattr(record, "trace", None)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
