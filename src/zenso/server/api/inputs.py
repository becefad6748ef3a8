"""What several APIs take: a model by its name, and what to embed, as text or as token ids."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from zenso import models
from zenso.canonical import Role
from zenso.errors import InputError, ModelError
from zenso.server.errors import RequestError
from zenso.server.services import Services
from zenso.zen import ZenEncoder

MAX_INPUTS = 2048
INPUT = "a text, texts, token ids of the model, or several lists of them"
_INLINE_CHARACTERS = 2_000  # that are tokenized at once; more would hold up other requests

Tokens = Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]
Input = (
    str
    | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)]
    | Tokens
    | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_INPUTS)]
)


def encoder_of(services: Services, name: str = "") -> ZenEncoder:
    """Return the encoder of a model that is served, or the server's own for names that the catalogue does not know.

    Raises
    ------
    RequestError
        404: the model is of the catalogue and not served; a request shall not make the server fetch it.
    """
    try:
        wanted = models.lookup(name).name
    except ModelError:
        wanted = models.lookup(services.settings.model).name
    if wanted not in services.shared_encoders:
        known = ", ".join(services.model_names)
        message = f"the model {wanted} is not served here; there are: {known}. `zenso serve --model` chooses another"
        raise RequestError(404, message, "model_not_found", "model")
    return services.encoder(wanted)


async def token_ids(encoder: ZenEncoder, given: Input, role: Role, field: str) -> list[NDArray[np.int32]]:
    """Return the token ids of each text, as the model takes them.

    Raises
    ------
    RequestError
        400, about ``field``: a text is empty, or a token id is not of the model.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given[0], int):
        given = [given]
    try:
        if isinstance(given[0], list):
            return [encoder.canonical.check_ids(row) for row in given]
        if sum(map(len, given)) <= _INLINE_CHARACTERS:
            return _tokenized(encoder, given, role)
        return await run_in_threadpool(_tokenized, encoder, given, role)
    except InputError as error:
        raise RequestError(400, str(error), "invalid_request", field) from None


def _tokenized(encoder: ZenEncoder, texts: list[str], role: Role) -> list[NDArray[np.int32]]:
    return [row for part in encoder.canonical.tokenize(texts, role) for row in part]
