"""OpenAI's chat completions, streamed or whole, and grounded in a memory where asked for."""

import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from zenso import models, rag
from zenso.errors import ZensoError
from zenso.server.api.routing import BodyRoute, TheServices, errors
from zenso.server.chat import Chat, ChatRequest, Grounding
from zenso.server.errors import Dialect, as_request_error, error_body
from zenso.server.responses import Json

router = APIRouter(tags=["OpenAI"], route_class=BodyRoute, responses=errors(Dialect.OPENAI))
_SEED_MASK = 2**32 - 1


class TextPart(BaseModel):
    """A part of a message; there are only texts."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def plain(self) -> models.Message:
        """As the library takes it."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class MemoryChoice(BaseModel):
    """Where the answer shall come from."""

    name: str | None = Field(default=None, description="of a memory; the default one otherwise")
    k: int = Field(default=5, ge=1, le=100, description="passages to read")
    where: dict[str, Any] | None = Field(default=None, description="a filter on metadata, as of `/v1/search`")


class StreamOptions(BaseModel):
    """Of a streamed answer."""

    include_usage: bool = False


class ChatCompletionRequest(BaseModel):
    """What to answer, as OpenAI's clients send it; fields that are not here are passed over."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    model: str = ""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    memory: str | MemoryChoice | None = Field(
        default=None, description="answer from this memory, with citations; an extension"
    )

    @property
    def plain(self) -> ChatRequest:
        """As the server's own functions take it."""
        options = models.ChatOptions()
        if (most := self.max_completion_tokens or self.max_tokens) is not None:
            options["max_tokens"] = most
        if self.temperature is not None:
            options["temperature"] = self.temperature
        if self.top_p is not None:
            options["top_p"] = self.top_p
        if self.stop is not None:
            options["stop"] = self.stop
        if self.seed is not None:
            options["seed"] = min(self.seed & _SEED_MASK, models.LARGEST_SEED)
        grounding = None
        if isinstance(self.memory, str):
            grounding = Grounding(self.memory)
        elif self.memory is not None:
            grounding = Grounding(self.memory.name, self.memory.k, self.memory.where)
        return ChatRequest([message.plain for message in self.messages], options, grounding)


class AnswerMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str


class Choice(BaseModel):
    """The one answer."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatUsage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Citation(BaseModel):
    """A passage that was put before the model."""

    number: int = Field(description="by which the answer cites it: [1]")
    id: str
    text: str
    score: float
    metadata: dict[str, Any]
    cited: bool


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    citations: list[Citation] | None = Field(default=None, description="of answers from a memory; an extension")


@router.post("/v1/chat/completions", response_model=ChatCompletion)
async def create_chat_completion(request: ChatCompletionRequest, services: TheServices) -> Response:
    """Answer a conversation; with `stream`, as server-sent events."""
    chat = await services.chats.start(request.plain)
    if not request.stream:
        return Json(await complete(chat, services.model_names[-1]))
    wants_usage = request.stream_options is not None and request.stream_options.include_usage
    # The first piece is waited for, so that a request that the model refuses gets an error and no stream.
    pieces = aiter(chat)
    first = await anext(pieces, None)
    events = _events(
        chat, first, pieces, _head("chat.completion.chunk", services.model_names[-1]), wants_usage=wants_usage
    )
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def complete(chat: Chat, model: str) -> dict[str, Any]:
    """Wait for an answer, and return it as OpenAI does."""
    text = "".join([piece async for piece in chat])
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": chat.finish_reason, "logprobs": None}
    answer = {**_head("chat.completion", model), "choices": [choice], "usage": _usage(chat)}
    if chat.passages:
        answer["citations"] = _citations(chat, text)
    return answer


async def _events(
    chat: Chat, first: str | None, pieces: AsyncIterator[str], head: dict[str, Any], *, wants_usage: bool
) -> AsyncIterator[bytes]:
    def event(delta: dict[str, str], reason: str | None = None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        usage = {"usage": None} if wants_usage else {}
        return _line({**head, "choices": [choice], **usage, **more})

    yield event({"role": "assistant", "content": ""})
    text = first or ""
    if first is not None:
        yield event({"content": first})
    try:
        async for piece in pieces:
            text += piece
            yield event({"content": piece})
    except ZensoError as error:
        # The status was sent long ago; clients know an event of this shape.
        yield _line(error_body(as_request_error(error), Dialect.OPENAI))
        return
    citations = {"citations": _citations(chat, text)} if chat.passages else {}
    yield event({}, chat.finish_reason, **citations)
    if wants_usage:
        yield _line({**head, "choices": [], "usage": _usage(chat)})
    yield b"data: [DONE]\n\n"


def _line(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _usage(chat: Chat) -> dict[str, int]:
    usage = chat.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _citations(chat: Chat, text: str) -> list[dict[str, Any]]:
    cited = {passage.number for passage in rag.cited(text, chat.passages)}
    return [
        {
            "number": passage.number,
            "id": passage.id,
            "text": passage.text,
            "score": passage.score,
            "metadata": dict(passage.metadata),
            "cited": passage.number in cited,
        }
        for passage in chat.passages
    ]
