"""Encode texts with sentence-transformers for ``sentence_transformers_peer``, which starts this with another Python.

It gets a model folder and a number of tokens as arguments. The standard input has one JSON value a line: the texts,
then requests ``{"batch": 8, "threads": 1}``. The standard output has one a line: the versions, then for each request
``{"seconds": 1.5, "vectors": "base64 of float32, little-endian"}``.
"""

import base64
import json
import os
import sys
import time

import sentence_transformers
import torch


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no reply

    def reply(value: object) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    # A folder without sentence-transformers' own files is read as an encoder with mean pooling.
    model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
    model.max_seq_length = int(sys.argv[2])
    model.float()
    texts = json.loads(sys.stdin.readline())
    reply({"sentence_transformers": sentence_transformers.__version__, "torch": torch.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        start = time.perf_counter()
        vectors = model.encode(texts, batch_size=request["batch"], normalize_embeddings=True, show_progress_bar=False)
        seconds = time.perf_counter() - start
        reply({"seconds": seconds, "vectors": base64.b64encode(vectors.astype("<f4").tobytes()).decode()})


if __name__ == "__main__":
    main()
