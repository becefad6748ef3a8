"""A closed loop of HTTP requests, in a process of its own so that it takes nothing from what it measures.

``python -m bench.load`` reads one JSON object from the standard input: ``host``, ``port``, ``connections``, ``seconds``
and ``requests``, a list of ``[path, body]``. Each connection sends the next request of the list, over and over, as soon
as it has the whole answer to the last, until the time is over; what runs then is waited for. One JSON object goes to
the standard output: ``milliseconds`` of each request, ``seconds`` from the first to the last, ``refused`` (answers of
another status than 200) and ``first_refusal``.

Answers are counted and not read, and requests are written once: on two processors a client that parses JSON would
measure itself.
"""

import asyncio
import gc
import itertools
import json
import sys
import time
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class _Connection(asyncio.Protocol):
    """Sends and waits, until the time is over."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._expected = -1
        self._began = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._expected < 0:
            end = self._received.find(_END)
            if end < 0:
                return
            head = bytes(self._received[:end]).lower()
            at = head.index(_LENGTH) + len(_LENGTH)
            self._expected = end + len(_END) + int(head[at:].split(b"\r\n", 1)[0])
        if len(self._received) >= self._expected:
            self._load.take(self._began, self._received)
            self._received.clear()
            self._expected = -1
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or ConnectionResetError("the server closed a connection"))

    def _send(self) -> None:
        assert self._transport
        self._began = time.perf_counter()
        if self._began >= self._load.end:
            if not self.over.done():
                self.over.set_result(None)
            self._transport.close()
            return
        self._transport.write(next(self._load.requests))


class _Load:
    """What all connections share."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.requests: Iterator[bytes] = itertools.cycle([_request(order, *one) for one in order["requests"]])
        self.began = self.last = time.perf_counter()
        self.end = self.began + float(order["seconds"])
        self.milliseconds: list[float] = []
        self.refused = 0
        self.first_refusal = ""

    def take(self, began: float, answer: bytearray) -> None:
        """Count an answer."""
        self.last = time.perf_counter()
        if not answer.startswith(b"HTTP/1.1 200"):
            self.refused += 1
            self.first_refusal = self.first_refusal or answer[:2000].decode("utf-8", "replace")
            return
        self.milliseconds.append(1000 * (self.last - began))


def _request(order: dict[str, Any], path: str, body: str) -> bytes:
    data = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {order['host']}:{order['port']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def _run(order: dict[str, Any]) -> dict[str, Any]:
    load = _Load(order)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(load), order["host"], order["port"])
        for _ in range(order["connections"])
    ]
    await asyncio.gather(*(connection.over for _, connection in opened))
    return {
        "milliseconds": load.milliseconds,
        "seconds": load.last - load.began,
        "refused": load.refused,
        "first_refusal": load.first_refusal,
    }


def main() -> None:
    """Run the load that the standard input describes."""
    order = json.load(sys.stdin)
    gc.disable()  # it keeps little, and its pauses would be the server's
    json.dump(asyncio.run(_run(order)), sys.stdout)


if __name__ == "__main__":
    main()
