"""Connections that do not get on: slow or endless headers, trailers without end, answers that nobody reads.

Bodies are looked after in :mod:`zenso.server.intake`; this is what happens before and after.
"""

from asyncio import TimerHandle, Transport
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zenso.server.settings import Limits

_HEAD_BYTES = 65_536  # of a request's line and headers; also of what is between two parts of a body


class _Connection(HttpToolsProtocol):
    """One client's connection; uvicorn makes it, of the class that :func:`connection_class` returns."""

    limits: ClassVar[Limits]

    _silent = 0  # bytes since the parser last understood a head or a part of a body
    _in_head = True
    _head_timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(b"503 Service Unavailable", b"there are too many connections; try again in 1 s")
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and self._head_timer is None:
            self._expect_head()
        self._silent += len(data)
        super().data_received(data)
        if self._silent > _HEAD_BYTES:
            reason = b"431 Request Header Fields Too Large" if self._in_head else None
            self._refuse(reason, b"the request's headers are larger than 64 KiB")

    def on_headers_complete(self) -> None:
        self._silent, self._in_head = 0, False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent, self._in_head = 0, True
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(
            self.limits.head_seconds, self._refuse, b"408 Request Timeout", b"the request did not come in time"
        )

    def _refuse(self, status: bytes | None, message: bytes) -> None:
        """Close the connection, with an answer where none has begun."""
        if self.transport.is_closing():
            return
        if status is not None and (self.cycle is None or self.cycle.response_complete):
            head = b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nretry-after: 1\r\n"
            self.transport.write((head + b"connection: close\r\n\r\n%b") % (status, len(message), message))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_progress(self._unsent)

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    @property
    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _expect_progress(self, before: int) -> None:
        self._write_timer = self.loop.call_later(self.limits.idle_seconds, self._check_progress, before)

    def _check_progress(self, before: int) -> None:
        if self._unsent >= before:
            self.transport.abort()
        else:
            self._expect_progress(self._unsent)


def connection_class(limits: Limits) -> type[_Connection]:
    """Return the class of connections that have limits, for uvicorn's ``http``."""
    return type("Connection", (_Connection,), {"limits": limits})
