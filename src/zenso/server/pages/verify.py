"""Verify: the browser runs the kernel itself, and must reach the hash that the server reached."""

import base64
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from zenso.canonical import Role, content_hash, engine_name, kernel_bytes, kernel_digest
from zenso.server.api.routing import TheServices
from zenso.server.errors import RequestError
from zenso.server.pages.rendering import render
from zenso.server.pages.static import FOR_EVER
from zenso.server.responses import Json
from zenso.server.services import Services

router = APIRouter()

_EXAMPLE = "The same words give the same bits on every machine."
Text = Annotated[str, Query(min_length=1, max_length=2000)]


@router.get("/verify")
async def verify(request: Request, services: TheServices, text: Text = _EXAMPLE) -> Response:
    """Show what the server makes of a text; a script adds what the browser makes of it."""
    made = await _embed(services, text)
    return render(request, "verify.html", {"text": text, "made": made, "hash": bytes.fromhex(str(made["hash"]))})


@router.get("/verify/embedding")
async def embedding(services: TheServices, text: Text) -> Response:
    """Return the tokens of a text, and the server's vector of it with its hash."""
    return Json(await _embed(services, text))


@router.get("/verify/kernel/{digest}")
async def kernel(digest: str) -> Response:
    """Return the WebAssembly module, whose BLAKE3 digest is part of the address."""
    if digest != kernel_digest().hex():
        raise RequestError(404, f"the kernel here is {kernel_digest().hex()}, not {digest}", "not_found")
    return Response(kernel_bytes(), media_type="application/wasm", headers={"Cache-Control": FOR_EVER})


@router.get("/verify/model/{digest}")
async def model(digest: str, services: TheServices) -> Response:
    """Return the artifact of a model that is loaded, found by its BLAKE3 digest."""
    for shared in services.shared_encoders.values():
        if shared.artifact.digest.hex() == digest:
            kept = {"Cache-Control": FOR_EVER}
            return FileResponse(shared.artifact.path, media_type="application/octet-stream", headers=kept)
    raise RequestError(404, f"no model that is loaded here has the digest {digest}", "not_found")


async def _embed(services: Services, text: str) -> dict[str, object]:
    encoder = await services.run(services.encoder)
    ids = await services.run(lambda: next(encoder.canonical.tokenize([text])))
    vector = (await services.embed(encoder, ids, 384, Role.DOCUMENT)).vectors[0]
    names = encoder.splitting_tokenizer
    artifact = encoder.canonical.artifact
    return {
        "model": encoder.name,
        "engine": engine_name(),
        "kernel": kernel_digest().hex(),
        "artifact": artifact.digest.hex(),
        "artifact_bytes": artifact.path.stat().st_size,
        "ids": ids[0].tolist(),
        "tokens": [names.id_to_token(number) for number in ids[0].tolist()],
        "vector": base64.b64encode(vector.astype("<i2").tobytes()).decode(),
        "hash": content_hash(vector).hex(),
    }
