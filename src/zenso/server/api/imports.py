"""Imports: lines of JSON that are stored while they come, and told of while they are stored.

What a progress event counts is safe on disk. The answer goes on beside the reading: a client that sends everything
before it reads anything holds nothing up, because progress that nobody reads is replaced by later progress.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from zenso.errors import InputError, ZensoError
from zenso.memory import Memory
from zenso.memory.documents import Entry, entries
from zenso.server.api.routing import MemoryName, TheServices
from zenso.server.errors import OverloadedError, as_request_error
from zenso.server.responses import Stream
from zenso.server.services import Services

NDJSON = "application/x-ndjson"
MAX_TOLD = 100  # errors of lines that are told one by one; the others are counted

_BATCH_LINES = 256
_BATCH_BYTES = 4 * 2**20
_KEYS = {"id", "text", "metadata", "embedding"}


async def take_import(request: Request, services: TheServices, memory: MemoryName = None) -> Response:
    """Store lines of JSON as they come: `{"text": ..., "id": ..., "metadata": {...}}`, only `text` is needed.

    The answer is a stream of events, as lines of JSON, or as server-sent events where `Accept` asks for
    `text/event-stream`: `progress` with the documents stored so far, all of them safe on disk; `error` with a line
    that was left out, for the first 100 of them; at the end `done`, or `failed` with the reason. It may be run again:
    texts that are stored under their id are not embedded again.
    """
    running = _Import(services, services.memory(memory))
    if "text/event-stream" in request.headers.get("accept", ""):
        return Stream(_events(running, request), media_type="text/event-stream")
    return Stream(_lines_of(running, request), media_type=NDJSON)


async def _lines_of(running: "_Import", request: Request) -> AsyncIterator[bytes]:
    async for event in running.run(request.stream()):
        yield orjson.dumps(event) + b"\n"


async def _events(running: "_Import", request: Request) -> AsyncIterator[bytes]:
    async for event in running.run(request.stream()):
        yield b"event: " + str(event["event"]).encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


@dataclass(frozen=True)
class _Line:
    """A line of the body; ``text`` is None where it was too long to be kept."""

    number: int
    text: bytes | None


class _Import:
    """One import: what it has stored, and what is still to be told."""

    def __init__(self, services: Services, memory: Memory) -> None:
        self._services = services
        self._memory = memory
        self._most_bytes = services.settings.limits.body_bytes
        self._line = self._documents = self._failed = 0
        self._errors: list[dict[str, object]] = []
        self._changed = asyncio.Event()

    async def run(self, body: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
        """Store a body, and yield events until it is done."""
        work = asyncio.ensure_future(self._store_all(body))
        work.add_done_callback(lambda _: self._changed.set())
        try:
            while not work.done():
                await self._changed.wait()
                self._changed.clear()
                for error in self._take_errors():
                    yield error
                if not work.done():
                    yield {"event": "progress", **self._counts()}
            for error in self._take_errors():
                yield error
            yield self._end(work)
        finally:
            work.cancel()

    def _counts(self) -> dict[str, int]:
        return {"lines": self._line, "documents": self._documents, "failed": self._failed}

    def _take_errors(self) -> list[dict[str, object]]:
        taken, self._errors = self._errors, []
        return taken

    def _end(self, work: "asyncio.Future[None]") -> dict[str, object]:
        try:
            work.result()
        except ZensoError as error:
            reason = as_request_error(error)
            return {"event": "failed", **self._counts(), "code": reason.code, "message": str(reason)}
        except ClientDisconnect:
            return {"event": "failed", **self._counts(), "code": "disconnected", "message": "the body ended early"}
        return {"event": "done", **self._counts()}

    async def _store_all(self, body: AsyncIterator[bytes]) -> None:
        batch: list[_Line] = []
        size = 0
        async for line in _lines(body, self._most_bytes):
            batch.append(line)
            size += len(line.text or b"")
            if len(batch) == _BATCH_LINES or size >= _BATCH_BYTES:
                await self._store(batch)
                batch, size = [], 0
        if batch:
            await self._store(batch)

    async def _store(self, batch: Sequence[_Line]) -> None:
        """Store the lines that can be; the model's queue is waited for, however long it is."""
        while True:
            try:
                stored, wrong = await self._services.run(_put, self._memory, batch, self._most_bytes)
                break
            except OverloadedError as error:
                await asyncio.sleep(error.retry_after)
        self._line = batch[-1].number
        self._documents += stored
        told = MAX_TOLD - min(self._failed, MAX_TOLD)
        self._failed += len(wrong)
        self._errors += [{"event": "error", "line": number, "message": said} for number, said in wrong[:told]]
        self._changed.set()


async def _lines(body: AsyncIterator[bytes], most: int) -> AsyncIterator[_Line]:
    """Cut a body into lines that are not blank, and pass over what is left of one that is too long."""
    number = 1
    kept = bytearray()
    too_long = False
    async for chunk in body:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            kept += piece
            if too_long or len(kept) > most:
                yield _Line(number, None)
            elif kept.strip():
                yield _Line(number, bytes(kept))
            number += 1
            kept.clear()
            too_long = False
        kept += rest
        if len(kept) > most:
            kept.clear()
            too_long = True
    if too_long:
        yield _Line(number, None)
    elif kept.strip():
        yield _Line(number, bytes(kept))


def _put(memory: Memory, batch: Sequence[_Line], most: int) -> tuple[int, list[tuple[int, str]]]:
    """Store the lines of a batch that can be; return how many, and the number and the fault of each other line."""
    read: list[tuple[int, Entry]] = []
    wrong: list[tuple[int, str]] = []
    for line in batch:
        try:
            if (entry := _entry(line, most)) is not None:
                read.append((line.number, entry))
        except InputError as error:
            wrong.append((line.number, str(error)[:300]))
    try:
        _add(memory, [entry for _, entry in read])
    except InputError:
        # One that cannot be embedded; found by trying each, which embeds none of the others twice.
        stored = 0
        for number, entry in read:
            try:
                _add(memory, [entry])
                stored += 1
            except InputError as error:
                wrong.append((number, str(error)[:300]))
        return stored, sorted(wrong)
    return len(read), wrong


def _add(memory: Memory, given: Sequence[Entry]) -> None:
    texts, ids, metadata = ([getattr(one, name) for one in given] for name in ("text", "id", "metadata"))
    memory.add(texts, ids=ids, metadata=metadata)


def _entry(line: _Line, most: int) -> Entry | None:
    """Read a line; None for the head of an export, which is no document."""
    if line.text is None:
        raise InputError(f"it is longer than {most:,} bytes; split the text")
    try:
        value = from_json(line.text.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"it is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError('it is no object; give {"text": ...}')
    if line.number == 1 and "zenso_export" in value:
        return None
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        raise InputError(f"unknown key {unknown[0]!r}; put what describes a document into 'metadata'")
    if "text" not in value:
        raise InputError("it has no 'text'")
    ids = None if value.get("id") is None else [value["id"]]
    (entry,) = entries([value["text"]], ids, [value.get("metadata")])
    return entry
