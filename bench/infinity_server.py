"""infinity-emb for ``bench server``, which starts this with another Python.

    python infinity_server.py MODEL_FOLDER PORT VECTORS.npy TEXTS.json

It is infinity's own server, as ``infinity_emb v2 --engine torch --device cpu --dtype float32 --no-bettertransformer``
starts it, with one route more, because infinity has no search: ``POST /search`` with ``{"query": "...", "k": 10}``
embeds the query in infinity's engine, together with whatever else waits there, and finds the nearest of the vectors,
float32 of shape (n, 384), with FAISS's exact inner product.
"""

import json
import sys
from pathlib import Path
from typing import Any

import faiss
import infinity_emb
import numpy as np
import torch
import uvicorn
from fastapi import Request
from fastapi.responses import ORJSONResponse
from infinity_emb import EngineArgs
from infinity_emb.infinity_server import create_server
from starlette.concurrency import run_in_threadpool

NAME = "peer"


def main() -> None:
    """Serve until the process is ended."""
    folder, port, vectors, texts_file = sys.argv[1:]
    arguments = EngineArgs(
        model_name_or_path=folder,
        served_model_name=NAME,
        engine="torch",
        device="cpu",
        dtype="float32",
        bettertransformer=False,
    )
    app = create_server(engine_args_list=[arguments])
    texts: list[str] = json.loads(Path(texts_file).read_text("utf-8"))
    held = np.load(vectors)
    index = faiss.IndexFlatIP(held.shape[1])
    index.add(held)
    versions = {"infinity_emb": infinity_emb.__version__, "torch": torch.__version__, "faiss": faiss.__version__}

    @app.get("/versions")
    async def _versions() -> dict[str, str]:
        return versions

    @app.post("/search", response_class=ORJSONResponse)
    async def _search(request: Request) -> ORJSONResponse:
        asked: dict[str, Any] = await request.json()
        embedded, _ = await app.engine_array[NAME].embed(sentences=[asked["query"]])
        query = np.asarray(embedded, np.float32)
        scores, rows = await run_in_threadpool(index.search, query, asked["k"])
        hits = [
            {"id": row, "score": score, "text": texts[row % len(texts)]}
            for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        ]
        return ORJSONResponse({"hits": hits})

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main()
