"""JSON-RPC 2.0 at ``/rpc`` (jsonrpc.org/specification): single calls, batches and notifications."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from zenso import models
from zenso.canonical import Role
from zenso.errors import InputError, ZensoError
from zenso.server.access import Caller
from zenso.server.api.chat import ChatCompletionRequest, complete
from zenso.server.api.documents import Where
from zenso.server.api.inputs import encoder_of
from zenso.server.api.routing import MEMORY_NAME, JsonRoute, Strict, TheCaller, TheServices, errors
from zenso.server.api.search import Count, SearchRequest, find_hits
from zenso.server.errors import Dialect, OverloadedError, RequestError, as_request_error, error_body
from zenso.server.keys import Scope
from zenso.server.responses import Json
from zenso.server.services import Services
from zenso.zen.dense import SCALE

log = logging.getLogger("zenso.server")

MAX_CALLS = 100  # of a batch
MAX_CANDIDATES = 1000
_AT_ONCE = 8  # calls of a batch that run at the same time
_LONGEST_TEXT = 1000
_INT64 = range(-(2**63), 2**63)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_ERROR = -32000  # with what HTTP would have said in ``data``


class TextEmbeddingParams(Strict):
    """Of ``get_text_embedding``."""

    text: str
    dimensions: Annotated[int, Field(description="384, 1920, 3840 or 7680")] = 384
    model: str | None = None


class SemanticSearchParams(Strict):
    """Of ``semantic_search``: over given texts, or over a memory where there are none."""

    query: str
    candidates: Annotated[list[str] | None, Field(max_length=MAX_CANDIDATES)] = None
    top_k: Count = 5
    memory: Annotated[str | None, Field(description=MEMORY_NAME)] = None
    where: Where | None = None


async def get_text_embedding(services: Services, params: TextEmbeddingParams) -> object:
    """Return the embedding of a text as a list of floats."""
    return await services.run(_embed, services, params)


async def semantic_search(services: Services, params: SemanticSearchParams) -> object:
    """Return the candidates nearest to a query as pairs of text and cosine; or hits of a memory, as ``/v1/search``."""
    if params.candidates is not None:
        return await services.run(_nearest, services, params)
    request = SearchRequest(query=params.query, k=params.top_k, where=params.where)
    return (await services.run(find_hits, services.memory(params.memory), request))["hits"]


async def chat_completion(services: Services, params: ChatCompletionRequest) -> object:
    """Return an answer as ``/v1/chat/completions`` does; whole, also where a stream is asked for."""
    return await complete(await services.chats.start(params.plain), services.model_names[-1])


@dataclass(frozen=True)
class Method:
    """A method: what its parameters are (by position in the order of their fields), who may call it, and what it does.

    ``call`` gets the services and the parameters, and returns what JSON can hold.
    """

    params: type[BaseModel]
    scope: Scope
    call: Callable[[Services, Any], Awaitable[object]]


_EMBED = Method(TextEmbeddingParams, Scope.READ, get_text_embedding)
_SEARCH = Method(SemanticSearchParams, Scope.READ, semantic_search)
_CHAT = Method(ChatCompletionRequest, Scope.READ, chat_completion)
METHODS: dict[str, Method] = {
    "get_text_embedding": _EMBED,
    "citrate_getTextEmbedding": _EMBED,
    "semantic_search": _SEARCH,
    "citrate_semanticSearch": _SEARCH,
    "chat_completion": _CHAT,
    "citrate_chatCompletion": _CHAT,
}

router = APIRouter(tags=["JSON-RPC"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))


class RpcError(BaseModel):
    """What went wrong; ``data`` has a ``code`` for programs, and the HTTP ``status`` that other routes would give."""

    code: int
    message: str
    data: dict[str, Any]


class RpcResponse(BaseModel):
    """The answer to a call: a result or an error."""

    jsonrpc: str
    id: str | int | float | None
    result: Any = None
    error: RpcError | None = None


_CALL = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "method": {"type": "string"},
        "params": {"anyOf": [{"type": "object"}, {"type": "array"}]},
        "id": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
    },
    "example": {"jsonrpc": "2.0", "id": 1, "method": "get_text_embedding", "params": {"text": "Bread needs time."}},
}


@router.post(
    "/rpc",
    response_model=RpcResponse | list[RpcResponse],
    responses={204: {"description": "All were notifications, which have no answers."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_CALL, {"type": "array", "items": _CALL, "maxItems": MAX_CALLS}]}
                }
            },
        }
    },
)
async def rpc(request: Request, services: TheServices, caller: TheCaller) -> Response:
    """Call methods; the calls of a batch run at the same time and are answered in their order.

    Errors of calls come with status 200, in the answer, as JSON-RPC has it.
    """
    calls = _Calls(services, caller)
    try:
        given = from_json(await request.body(), allow_inf_nan=False)
    except ValueError as error:
        return Json(_failure(None, PARSE_ERROR, f"the body is no JSON that is taken here: {error}", "invalid_json"))
    if not isinstance(given, list):
        answer: object = await calls.answer(given)
    elif not given or len(given) > MAX_CALLS:
        message = f"a batch of {len(given):,} calls; send 1 to {MAX_CALLS}"
        answer = _failure(None, INVALID_REQUEST, message, "invalid_request")
    else:
        answers = await asyncio.gather(*map(calls.answer, given))
        answer = [one for one in answers if one is not None] or None
    return Response(status_code=204) if answer is None else Json(answer)


class _Calls:
    """The calls of one request."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, call: object) -> dict[str, object] | None:
        """Return the answer to a call, None to a notification."""
        if (fault := _fault(call)) is not None:
            return _failure(None, INVALID_REQUEST, fault, "invalid_request")
        assert isinstance(call, dict)
        async with self._turn:
            answer = await self._result(call)
        return answer if "id" in call else None

    async def _result(self, call: dict[str, Any]) -> dict[str, object]:
        call_id, name = call.get("id"), call["method"]
        method = METHODS.get(name)
        if method is None:
            message = f"there is no method {name!r}; there are {', '.join(METHODS)}"
            return _failure(call_id, METHOD_NOT_FOUND, message, "method_not_found")
        try:
            self._caller.require(method.scope)
            params = _params(method.params, call.get("params", {}))
            return {"jsonrpc": "2.0", "id": call_id, "result": await method.call(self._services, params)}
        except ZensoError as error:
            return _refusal(call_id, as_request_error(error))
        except Exception:
            # The other calls of the batch have answers; this one is told as the specification has it.
            log.exception("a method failed", extra={"fields": {"method": name}})
            return _failure(call_id, INTERNAL_ERROR, "an error of the server; its log says more", "error", 500)


def _fault(call: object) -> str | None:
    """Say why something is no call."""
    if not isinstance(call, dict):
        return "a call is an object with jsonrpc, method, params and id"
    if call.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if not isinstance(call.get("method"), str):
        return "method must be a string"
    if not isinstance(call.get("params", {}), dict | list):
        return "params must be an object or an array"
    return _id_fault(call.get("id"))


def _id_fault(call_id: object) -> str | None:
    if isinstance(call_id, bool) or not isinstance(call_id, str | int | float | None):
        return "id must be a string, a number or null"
    if isinstance(call_id, int) and call_id not in _INT64:
        return "id must fit in 64 bits"
    if isinstance(call_id, float) and not np.isfinite(call_id):
        return "id must be a finite number"
    return None


def _params(kind: type[BaseModel], given: dict[str, Any] | list[Any]) -> BaseModel:
    names = list(kind.model_fields)
    if isinstance(given, list):
        if len(given) > len(names):
            raise InputError(f"{len(given)} parameters; there are {', '.join(names)}")
        given = dict(zip(names, given, strict=False))
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, found["loc"]))
        raise RequestError(422, f"{name}: {found['msg']}", "invalid_request", name) from None


def _refusal(call_id: object, error: RequestError) -> dict[str, object]:
    code = INVALID_PARAMS if error.status in (400, 422) else SERVER_ERROR
    more = {"retry_after": error.retry_after} if isinstance(error, OverloadedError) else {}
    detail = error_body(error, Dialect.ZENSO)["error"]
    assert isinstance(detail, dict)
    return _failure(call_id, code, detail["message"], error.code, error.status, {"param": detail["param"], **more})


def _failure(
    call_id: object, code: int, message: str, kind: str, status: int = 400, more: dict[str, object] | None = None
) -> dict[str, object]:
    data = {"code": kind, "status": status, **(more or {})}
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message[:_LONGEST_TEXT], "data": data}}


def _embed(services: Services, params: TextEmbeddingParams) -> list[float]:
    name = "" if params.model is None else models.lookup(params.model).name
    rows: list[list[float]] = encoder_of(services, name).encode_dense([params.text], params.dimensions).floats.tolist()
    return rows[0]


def _nearest(services: Services, params: SemanticSearchParams) -> list[tuple[str, float]]:
    """Order texts by the cosine of their embedding and the query's; of equals the first comes first."""
    encoder = services.encoder()
    texts = params.candidates or []
    query = encoder.encode_dense([params.query], role=Role.QUERY).vectors[0]
    dots = encoder.encode_vectors(texts).astype(np.int64) @ query.astype(np.int64)
    order = np.argsort(-dots, kind="stable")[: params.top_k]
    return [(texts[place], int(dots[place]) / SCALE**2) for place in order.tolist()]
