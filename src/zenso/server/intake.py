"""The way of a request into a route: bounded in size and time, and ended when the client leaves."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zenso.server.errors import RequestError
from zenso.server.responses import error_response
from zenso.server.services import Services

_IMPORTS = ("/v1/documents/import", "/indexing/import")  # whose body is read as it comes
# Answers that may take longer than the limit, with what is below.
_STREAMED = ("/v1/chat/", "/mcp", "/indexing/events", "/v1/documents/export", "/verify/model/")


class Intake:
    """Middleware that reads the body ahead of a route, and cancels the route when the client has gone."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request within its limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, limits = scope["path"], self._services.settings.limits
        is_import = path in _IMPORTS
        most = limits.import_bytes if is_import else limits.body_bytes
        seconds = None if is_import or path.startswith(_STREAMED) else limits.request_seconds
        answer = _Answer(send)
        try:
            declared = Headers(scope=scope).get("content-length", "0")
            if declared.isdecimal() and int(declared) > most:
                raise _too_large(most)
            flow = _Flow(receive, most, limits.idle_seconds)
            async with asyncio.timeout(seconds):
                await flow.drive(lambda: self._app(scope, flow.receive, answer))
        except TimeoutError:
            await self._refuse(_too_slow(limits.request_seconds), path, answer, scope, receive)
        except RequestError as error:
            await self._refuse(error, path, answer, scope, receive)

    async def _refuse(self, error: RequestError, path: str, answer: "_Answer", scope: Scope, receive: Receive) -> None:
        self._services.metrics.refuse(error.code)
        if not answer.started:
            await error_response(error, path)(scope, receive, answer)


class _BodyError(RequestError, HTTPException):
    """Raised where a body is read; the framework passes on only its own exceptions from there."""

    def __init__(self, status: int, message: str, code: str) -> None:
        HTTPException.__init__(self, status, message)
        RequestError.__init__(self, status, message, code)


def _too_large(most: int) -> RequestError:
    message = f"the body is larger than {most:,} bytes; send less at once, or raise the limit in zenso.toml"
    return _BodyError(413, message, "too_large")


def _stalled(seconds: float) -> RequestError:
    message = f"nothing of the body came for {seconds:g} s; send it again"
    return _BodyError(408, message, "stalled")


def _too_slow(seconds: float) -> RequestError:
    message = f"the request took longer than {seconds:g} s and was given up; ask for less at once"
    return RequestError(504, message, "timeout")


class _Answer:
    """Knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        self.started = True
        await self._send(message)


class _Flow:
    """Passes a request's body on, a little ahead of who reads it, and looks out for the end of the connection."""

    def __init__(self, receive: Receive, most: int, idle_seconds: float) -> None:
        self._receive = receive
        self._most = self._room = most
        self._idle_seconds = idle_seconds
        self._ahead: asyncio.Queue[Message] = asyncio.Queue(maxsize=4)
        self._gone: Message | None = None

    async def receive(self) -> Message:
        """Give the next message to the route."""
        if self._gone is not None and self._ahead.empty():
            return self._gone
        message = await self._ahead.get()
        if "error" in message:
            raise message["error"]
        return message

    async def drive(self, route: Callable[[], Awaitable[None]]) -> None:
        """Run a route to its end, or until the client leaves."""
        work = asyncio.ensure_future(route())
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                if self._gone is not None:
                    work.cancel()
                await asyncio.wait((work,))
            if not work.cancelled():
                work.result()
        finally:
            for task in (work, watch):
                if not task.done():
                    task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _watch(self) -> None:
        """Read messages until the client has gone."""
        more = True
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds if more else None):
                    message = await self._receive()
            except TimeoutError:
                await self._fail(_stalled(self._idle_seconds))
                return
            if message["type"] == "http.disconnect":
                self._gone = message
                if self._ahead.full():
                    self._ahead.get_nowait()  # nobody is left to read it
                self._ahead.put_nowait(message)
                return
            self._room -= len(message.get("body", b""))
            if self._room < 0:
                await self._fail(_too_large(self._most))
                return
            more = message.get("more_body", False)
            await self._ahead.put(message)

    async def _fail(self, error: RequestError) -> None:
        """Let whoever reads raise the error, so that the route ends as with any other."""
        await self._ahead.put({"type": "error", "error": error})
