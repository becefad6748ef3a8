"""Errors of requests, in the shape that each kind of client expects."""

import math
from enum import StrEnum

from zenso.errors import InputError, IntegrityError, ModelError, StorageError, ZensoError


class RequestError(ZensoError):
    """A request is refused.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        What was wrong, with which value, and what to do.
    code : str
        One word for programs.
    param : str, optional
        The field that was wrong.
    """

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class OverloadedError(RequestError):
    """A queue is full; ``retry_after`` says in how many whole seconds it may have room."""

    def __init__(self, message: str, seconds: float, code: str = "overloaded") -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(429, f"{message}; try again in {self.retry_after} s", code)


class Dialect(StrEnum):
    """Whose clients call a route."""

    OPENAI = "openai"  # and vLLM
    COHERE = "cohere"
    JINA = "jina"
    TEI = "tei"
    ZENSO = "zenso"


_LONGEST_TEXT = 1000  # characters of a message
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_TEI_TYPES = {400: "Validation", 413: "Validation", 422: "Validation", 424: "Backend", 429: "Overloaded"}


def as_request_error(error: ZensoError) -> RequestError:
    """Say what status an error of the library has."""
    if isinstance(error, RequestError):
        return error
    for kind, status, code in (
        (InputError, 400, "invalid_request"),
        (StorageError, 507, "storage"),
        (ModelError, 503, "model"),
        (IntegrityError, 422, "integrity"),
    ):
        if isinstance(error, kind):
            return RequestError(status, str(error), code)
    return RequestError(500, str(error), "error")


def _sendable(text: str) -> str:
    """Bound a text that may repeat what a client sent, and write out lone surrogates, which UTF-8 cannot hold."""
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def error_body(error: RequestError, dialect: Dialect) -> dict[str, object]:
    """Put an error into a dialect's shape."""
    message = _sendable(str(error))
    param = None if error.param is None else _sendable(error.param)
    match dialect:
        case Dialect.OPENAI:
            kind = _OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
            return {"error": {"message": message, "type": kind, "param": param, "code": error.code}}
        case Dialect.COHERE:
            return {"message": message}
        case Dialect.JINA:
            return {"detail": message}
        case Dialect.TEI:
            return {"error": message, "error_type": _TEI_TYPES.get(error.status, "Backend")}
        case Dialect.ZENSO:
            return {"error": {"code": error.code, "message": message, "param": param}}


_DIALECTS = (
    ("/v1/embeddings", Dialect.OPENAI),
    ("/v1/chat/", Dialect.OPENAI),
    ("/v1/models", Dialect.OPENAI),
    ("/v1/score", Dialect.OPENAI),
    ("/score", Dialect.OPENAI),
    ("/v2/rerank", Dialect.COHERE),
    ("/v1/rerank", Dialect.JINA),
    ("/rerank", Dialect.JINA),
    ("/embed", Dialect.TEI),
    ("/similarity", Dialect.TEI),
    ("/info", Dialect.TEI),
)


def dialect_of(path: str) -> Dialect:
    """Return the dialect of a path."""
    if path == "/":
        return Dialect.TEI
    return next((dialect for start, dialect in _DIALECTS if path.startswith(start)), Dialect.ZENSO)
