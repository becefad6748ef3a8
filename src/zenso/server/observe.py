"""Each request leaves a line in the log and a count in the metrics; texts of documents and queries never do."""

import json
import logging
import secrets
import sys
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zenso.server.services import Services
from zenso.server.settings import Logging

log = logging.getLogger("zenso.server")
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    # Addresses hold queries. With no-referrer the forms of our own pages would come from the origin "null".
    (b"referrer-policy", b"same-origin"),
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
        request_id = secrets.token_hex(8)
        status, sent = 499, 0  # what servers log of clients that left before an answer

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {
                    **message,
                    "headers": [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())],
                }
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except BaseException:
            status = 500 if status == 499 else status
            raise
        finally:
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", "other")
            self._services.metrics.observe(route, scope["method"], status, seconds)
            caller = scope.get("state", {}).get("caller")
            log.info(
                "request",
                extra={
                    "fields": {
                        "request": request_id,
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "milliseconds": round(1000 * seconds, 2),
                        "bytes": sent,
                        "caller": caller.name if caller else None,
                    }
                },
            )


def configure_logging(settings: Logging) -> None:
    """Send the log of the server to standard error, a line for each event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if settings.format == "json" else _TextLines())
    for name in ("zenso.server", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(settings.level.upper())
        logger.propagate = False
    logging.getLogger("uvicorn.access").disabled = True  # it would log queries in addresses


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "  ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}  {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
