"""Answers, and errors as answers."""

from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from zenso.server.errors import Dialect, OverloadedError, RequestError, dialect_of, error_body


class Json(Response):
    """JSON, quickly; numpy arrays are written as lists."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold
        """Write the body."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class Stream(StreamingResponse):
    """An answer that is sent as it is made, while the request's body may still come."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send it. The base class would read the body to learn when the client leaves; ``Intake`` tells that."""
        await self.stream_response(send)


def error_response(error: RequestError, path: str, dialect: Dialect | None = None) -> Response:
    """Answer with an error, in the shape that callers of the path expect."""
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Json(error_body(error, dialect or dialect_of(path)), error.status, headers)
