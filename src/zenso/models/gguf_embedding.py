"""Embeddings from GGUF models through llama.cpp (extra ``llm``): a float engine, whose vectors are not canonical."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError, ModelError
from zenso.models.gguf import Value, read_metadata, verified_gguf
from zenso.models.llama import Engine, import_xllamacpp, parameters, trained_context
from zenso.models.progress import OnProgress, silent

Pooling = Literal["mean", "first", "last"]

DEFAULT_TOKENS = 512
_POOLING = {"mean": "MEAN", "first": "CLS", "last": "LAST"}
_TEXTS_AT_ONCE = 64


class GgufEmbedder:
    """A loaded model that embeds text; made by `load_gguf_embedder`. Any number of threads may use it.

    Its vectors depend in their last digits on the processor and on llama.cpp's version. They are good for searching
    among themselves, and never canonical: no two machines have to agree on them.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None,
        context: int | None,
        pooling: Pooling | None,
        metadata: dict[str, Value],
    ) -> None:
        architecture = metadata.get("general.architecture")
        trained = trained_context(metadata, path)
        if pooling is None and not metadata.get(f"{architecture}.pooling_type"):
            raise InputError(
                f"{path} does not say how token states become one vector; give pooling: mean, first or last"
            )
        self.path = path
        self.context = min(DEFAULT_TOKENS, trained) if context is None else context
        if self.context > trained:
            raise InputError(f"context {context} is more than the {trained} tokens that {path.name} was trained for")
        self.dimensions = int(metadata.get(f"{architecture}.embedding_length", 0))
        given = parameters(path, threads=threads, context=self.context)
        given.n_batch = given.n_ubatch = self.context  # attention to both sides needs the whole text at once
        given.embedding = True
        if pooling is not None:
            kinds = import_xllamacpp().llama_pooling_type
            given.pooling_type = getattr(kinds, f"LLAMA_POOLING_TYPE_{_POOLING[pooling]}")
        self._engine = Engine(path, given)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts, each of length 1, shape (texts, dimensions).

        Raises
        ------
        InputError
            A text is empty or has more tokens than the context, or this is closed.
        ModelError
            The engine failed.
        """
        server = self._engine.server
        if server is None:
            raise InputError(f"the embedder of {self.path.name} is closed; load it again")
        if isinstance(texts, str):
            raise InputError("give a list of texts, not one text")
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"text {number} is {text!r:.80}; it must be a string that is not empty")
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            # llama.cpp takes UTF-8, which has no lone surrogates.
            batch = [text.encode("utf-8", "replace").decode() for text in texts[first : first + _TEXTS_AT_ONCE]]
            try:
                reply = server.handle_embeddings({"input": batch, "embd_normalize": 2})
            except (RuntimeError, ValueError) as error:
                raise ModelError(f"llama.cpp failed: {error}") from error
            if "error" in reply:
                reason = reply["error"].get("message", "no reason given")
                raise InputError(
                    f"a text among {first} to {first + len(batch) - 1} cannot be embedded with a context of "
                    f"{self.context} tokens: {reason}; cut it, or load the model with more context"
                )
            for item in reply["data"]:
                vectors[first + item["index"]] = item["embedding"]
        return vectors

    def close(self) -> None:
        """Free the model; further calls raise InputError."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def load_gguf_embedder(
    path: str | Path,
    *,
    sha256: str | None = None,
    threads: int | None = None,
    context: int | None = None,
    pooling: Pooling | None = None,
    on_progress: OnProgress = silent,
) -> GgufEmbedder:
    """Load a GGUF embedding model, such as Qwen3-Embedding or BGE-M3, after its whole file was verified.

    Parameters
    ----------
    path : str or path
        The file.
    sha256 : str, optional
        What it must hash to; without it ``FILE.sha256`` beside it says so. See `verified_gguf`.
    threads : int, optional
        Processors to use; all that may be used by default.
    context : int, optional
        Most tokens of a text; 512 by default, or what the model was trained for if less.
    pooling : {"mean", "first", "last"}, optional
        How token states become one vector, where the file does not say it or says it wrongly.

    Raises
    ------
    ModelError
        The file cannot be read, llama.cpp cannot load it, or the extra ``llm`` is missing.
    IntegrityError
        The file has another hash than it must, or nothing says which; nothing was loaded.
    InputError
        A value is out of its range.
    """
    import_xllamacpp()
    if pooling is not None and pooling not in _POOLING:
        raise InputError(f"pooling is {pooling!r}; it must be one of {', '.join(_POOLING)}")
    found = verified_gguf(Path(path), sha256, on_progress)
    metadata = read_metadata(found)
    return GgufEmbedder(found, threads=threads, context=context, pooling=pooling, metadata=metadata)
