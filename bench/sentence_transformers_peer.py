"""sentence-transformers as a peer: a process of another environment."""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.peer_process import PeerProcess

SERVER = Path(__file__).with_name("sentence_transformers_server.py")


class SentenceTransformersEncoder:
    """A model folder served by another Python until it is closed.

    Parameters
    ----------
    python : Path
        Interpreter of an environment that has sentence-transformers.
    folder : Path
        ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of an encoder with mean pooling.
    texts : sequence of str
        What every call of ``encode`` encodes.
    tokens : int
        Longer texts are cut.

    Raises
    ------
    InputError
        The interpreter cannot be started, or has no sentence-transformers.
    """

    def __init__(self, python: Path, folder: Path, texts: Sequence[str], tokens: int) -> None:
        self._texts = texts
        self._process = PeerProcess(python, SERVER, str(folder), str(tokens))
        try:
            self.versions: dict[str, str] = self._process.ask(list(texts))
        except BaseException:
            self.close()
            raise

    def encode(self, batch: int, threads: int) -> tuple[float, NDArray[np.float32]]:
        """Encode all texts; return its own seconds, tokenisation included, and unit vectors, shape (n, hidden)."""
        answer = self._process.ask({"batch": batch, "threads": threads})
        vectors = np.frombuffer(base64.b64decode(answer["vectors"]), "<f4")
        return float(answer["seconds"]), vectors.reshape(len(self._texts), -1)

    def close(self) -> None:
        """End the process."""
        self._process.close()
