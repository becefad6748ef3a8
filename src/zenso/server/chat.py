"""Chats: one language model for all, answers as they are written, and passages of a memory behind them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from zenso import models, rag
from zenso.server.errors import OverloadedError, RequestError

if TYPE_CHECKING:
    from zenso.server.services import Services

_END = object()
_SECONDS_OF_AN_ANSWER = 10.0  # a guess for Retry-After, as answers differ too much to measure


@dataclass(frozen=True)
class Grounding:
    """The memory that an answer shall be taken from."""

    memory: str | None = None  # the default one
    k: int = 5
    where: dict[str, Any] | None = None


@dataclass(frozen=True)
class ChatRequest:
    """What to answer, in terms of the library."""

    messages: list[models.Message]
    options: models.ChatOptions = field(default_factory=models.ChatOptions)
    grounding: Grounding | None = None


class Chat:
    """A running answer: iterate over its pieces; then ``finish_reason`` and ``usage`` are there."""

    def __init__(self, running: "models.Generation | rag.Answer", limiter: anyio.CapacityLimiter) -> None:
        self._running = running
        self._limiter = limiter

    @property
    def passages(self) -> tuple[rag.Passage, ...]:
        """What a grounded answer cites by number."""
        return self._running.passages if isinstance(self._running, rag.Answer) else ()

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """Why it ended."""
        return self._running.finish_reason or "stop"

    @property
    def usage(self) -> models.Usage:
        """Tokens read and written."""
        return self._running.usage or models.Usage(0, 0)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield pieces of text as they come; whoever stops listening stops the model."""
        try:
            while True:
                piece = await anyio.to_thread.run_sync(
                    next, self._running, _END, abandon_on_cancel=True, limiter=self._limiter
                )
                if not isinstance(piece, str):
                    return
                yield piece
        finally:
            self._running.close()


class Chats:
    """The language model of a server, if it has one.

    Parameters
    ----------
    services : Services
    on_progress : callable
        Told of the fetch.

    Raises
    ------
    ModelError, IntegrityError, InputError
        As of ``models.load_generator``.
    """

    def __init__(self, services: "Services", on_progress: models.OnProgress = models.silent) -> None:
        self._services = services
        self._limiter: anyio.CapacityLimiter | None = None
        self._generator: models.Generator | None = None
        if (settings := services.settings.generation) is not None:
            self._generator = models.load_generator(
                settings.model,
                sha256=settings.sha256,
                context=settings.context,
                threads=services.settings.threads,
                on_progress=on_progress,
            )

    @property
    def model(self) -> str | None:
        """Name of the language model; None where there is none."""
        return self._generator.name if self._generator is not None else None

    async def start(self, request: ChatRequest) -> Chat:
        """Begin an answer.

        Raises
        ------
        RequestError
            404: no language model is configured. 429: too many answers wait already.
        InputError
            As of ``Generator.chat`` and ``rag.answer``.
        """
        settings = self._services.settings.generation
        if settings is None or self._generator is None:
            message = "this server has no language model; start it with `zenso serve --chat MODEL`"
            raise RequestError(404, message, "model_not_found", "model")
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(settings.queued + 1)
        if self._limiter.borrowed_tokens > settings.queued:
            raise OverloadedError("too many answers wait for the language model already", _SECONDS_OF_AN_ANSWER)
        return Chat(await self._services.run(self._begin, self._generator, request), self._limiter)

    def _begin(self, generator: "models.Generator", request: ChatRequest) -> "models.Generation | rag.Answer":
        if request.grounding is None:
            return generator.chat(request.messages, **request.options)
        memory = self._services.memory(request.grounding.memory)
        wanted = request.grounding
        return rag.answer(memory, generator, request.messages, k=wanted.k, where=wanted.where, **request.options)

    def close(self) -> None:
        """Stop all answers and free the model."""
        if self._generator is not None:
            self._generator.close()
