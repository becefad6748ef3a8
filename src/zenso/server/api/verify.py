"""What lets others verify embeddings: recomputing one, and the very files that compute it, for a browser."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from blake3 import blake3
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import FileResponse, Response

from zenso.bitdelta import SLOT_WIDTH
from zenso.canonical import Role, engine_digest, engine_name, kernel_bytes, kernel_digest
from zenso.canonical.wasm_kernel import MODULE_PATH
from zenso.errors import ModelError
from zenso.memory import Memory
from zenso.memory.verify import verify_memory
from zenso.server.api.documents import Id, find
from zenso.server.api.routing import MEMORY_NAME, JsonRoute, MemoryName, Strict, TheServices, errors
from zenso.server.errors import Dialect, RequestError
from zenso.server.responses import Json
from zenso.server.services import Services
from zenso.zen import ZenEncoder

router = APIRouter(tags=["Verify"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))


class VerifyRequest(Strict):
    """A stored document, or a text."""

    id: Id | None = None
    text: Annotated[str | None, Field(min_length=1)] = None
    memory: Annotated[str | None, Field(description=MEMORY_NAME)] = None


class Digests(Strict):
    """What the bits depend on; digests are BLAKE3 in hexadecimal."""

    model_id: str
    weights: str
    tokenizer: str
    artifact: str
    kernel: str
    kernel_version: int
    slots: str
    code: Annotated[str, Field(description="family and version of the codes")]
    engine: Annotated[str, Field(description="the build that runs the kernel here")]
    engine_digest: str


class Hashes(Strict):
    """BLAKE3 of a vector, as 384 int16 LE, and of its code; null where it is not stored."""

    content_hash: str | None
    code_hash: str | None


class Computed(Strict):
    """What the text gives now."""

    tokens: list[int]
    vector: Annotated[list[int], Field(description="384 numbers of scale 32767")]
    content_hash: str
    code_hash: str


class FoundMismatch(Strict):
    """One thing that is stored and is not what the text gives."""

    cause: Literal["text changed", "other model", "other kernel", "corrupted vector", "corrupted code"]
    detail: str


class Verification(Strict):
    """``ok``: what is stored is what the text gives; null for a text that is not stored."""

    ok: bool | None
    mismatches: list[FoundMismatch]
    notes: list[str]
    stored: Hashes | None
    computed: Computed
    digests: Digests


class ServedFile(Strict):
    """A file, and what it must hash to."""

    url: str
    bytes: int
    blake3: str


class VerifiedModel(Strict):
    """The model of a memory, and the two files that run it anywhere."""

    digests: Digests
    query_prefix: str
    document_prefix: str
    max_tokens: int
    kernel: ServedFile
    artifact: ServedFile


class TokensRequest(Strict):
    """A text to cut into tokens."""

    text: Annotated[str, Field(min_length=1)]
    role: Literal["document", "query"] = "document"
    memory: Annotated[str | None, Field(description=MEMORY_NAME)] = None


class Tokens(Strict):
    """Token ids as the kernel gets them, special tokens included, and how they are written."""

    ids: list[int]
    tokens: list[str]


@router.post("/v1/verify", response_model=Verification)
async def verify(request: VerifyRequest, services: TheServices) -> Response:
    """Embed a document again and compare with what is stored; or show what a text gives."""
    if (request.id is None) == (request.text is None):
        raise RequestError(400, "give either `id` or `text`", "invalid_request")
    if request.id is not None:
        return Json(await services.run(_verify_stored, services.memory(request.memory), request.id))
    return Json(await services.run(_verify_text, services, request.memory, request.text or ""))


@router.get("/v1/verify/model", response_model=VerifiedModel)
async def describe_model(services: TheServices, memory: MemoryName = None) -> Response:
    """Say what the embeddings of a memory depend on, and where the kernel and the model's artifact are."""
    encoder = await services.run(_encoder, services, memory)
    artifact = encoder.canonical.artifact
    query = "" if memory is None else f"?{urlencode({'memory': memory})}"
    config = artifact.config
    return Json(
        {
            "digests": _digests(encoder),
            "query_prefix": config["query_prefix"],
            "document_prefix": config["document_prefix"],
            "max_tokens": encoder.max_tokens,
            "kernel": {
                "url": "/v1/verify/kernel.wasm",
                "bytes": len(kernel_bytes()),
                "blake3": kernel_digest().hex(),
            },
            "artifact": {
                "url": f"/v1/verify/artifact{query}",
                "bytes": artifact.path.stat().st_size,
                "blake3": artifact.digest.hex(),
            },
        }
    )


@router.post("/v1/verify/tokens", response_model=Tokens)
async def tokens(request: TokensRequest, services: TheServices) -> Response:
    """Cut a text into the tokens that the kernel gets."""
    return Json(await services.run(_tokens, services, request))


_FILES: Mapping[int | str, dict[str, Any]] = {
    206: {"description": "The part that `Range` asked for."},
    304: {"description": "The client has it already."},
    416: {"description": "There is no such part."},
}


@router.get(
    "/v1/verify/kernel.wasm",
    response_class=Response,
    responses={200: {"content": {"application/wasm": {}}, "description": "The kernel."}, **_FILES},
)
async def kernel_file(request: Request) -> Response:
    """Send the kernel, a WebAssembly module."""
    return _file(request, MODULE_PATH, kernel_digest().hex(), "application/wasm")


@router.get(
    "/v1/verify/artifact",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The artifact."}, **_FILES},
)
async def artifact_file(request: Request, services: TheServices, memory: MemoryName = None) -> Response:
    """Send the artifact of a memory's model: its integer weights and its tokenizer."""
    artifact = (await services.run(_encoder, services, memory)).canonical.artifact
    return _file(request, artifact.path, artifact.digest.hex(), "application/octet-stream")


def _file(request: Request, path: Path, digest: str, media_type: str) -> Response:
    """Send a file that a client may keep, and ask about by its digest."""
    headers = {"ETag": f'"{digest}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=media_type)


def _encoder(services: Services, memory: str | None) -> ZenEncoder:
    """Return the encoder of a memory; without any memory, that of the server."""
    if memory is None and not services.memories:
        return services.encoder()
    return services.memory(memory).encoder


def _digests(encoder: ZenEncoder) -> dict[str, object]:
    model = asdict(encoder.provenance.model)
    return {
        **{name: model[name] for name in ("model_id", "weights", "tokenizer", "artifact", "kernel")},
        "kernel_version": model["version"],
        "slots": encoder.provenance.slots,
        "code": encoder.provenance.code,
        "engine": engine_name(),
        "engine_digest": engine_digest().hex(),
    }


def _verify_stored(memory: Memory, document_id: str) -> dict[str, object]:
    text = find(memory, document_id).text
    report = verify_memory(memory.path, memory.encoder, ids=[document_id])
    vector = memory.vectors(document_id).get(document_id)
    try:
        code = memory.codes([document_id]).get(document_id)
    except ModelError:  # of another model: then there is nothing to compare it with
        code = None
    return {
        "ok": report.ok,
        "mismatches": [{"cause": one.cause.value, "detail": one.detail} for one in report.mismatches],
        "notes": report.notes,
        "stored": {
            "content_hash": None if vector is None else blake3(vector.tobytes()).hexdigest(),
            "code_hash": None if code is None else blake3(code.tobytes()).hexdigest(),
        },
        "computed": _computed(memory.encoder, text),
        "digests": _digests(memory.encoder),
    }


def _verify_text(services: Services, memory: str | None, text: str) -> dict[str, object]:
    encoder = _encoder(services, memory)
    computed = _computed(encoder, text)
    return {
        "ok": None,
        "mismatches": [],
        "notes": [],
        "stored": None,
        "computed": computed,
        "digests": _digests(encoder),
    }


def _computed(encoder: ZenEncoder, text: str) -> dict[str, object]:
    ((ids,),) = encoder.canonical.tokenize([text])
    made = encoder.encode_documents([text])
    vector = made.vectors[0].astype("<i2")
    assert vector.shape == (SLOT_WIDTH,)
    return {
        "tokens": ids.tolist(),
        "vector": vector.tolist(),
        "content_hash": blake3(vector.tobytes()).hexdigest(),
        "code_hash": blake3(made.codes[0].tobytes()).hexdigest(),
    }


def _tokens(services: Services, request: TokensRequest) -> dict[str, object]:
    encoder = _encoder(services, request.memory)
    ((ids,),) = encoder.canonical.tokenize([request.text], Role(request.role))
    tokenizer = encoder.splitting_tokenizer
    return {"ids": ids.tolist(), "tokens": [tokenizer.id_to_token(one) for one in ids.tolist()]}
