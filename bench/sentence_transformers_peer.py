"""sentence-transformers as a peer: a process of another environment, because PyTorch has no place in this one."""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError

SERVER = Path(__file__).with_name("sentence_transformers_server.py")
# Threads are asked for with each request, not by the environment; and nothing is fetched.
_THREAD_SETTINGS = ("OMP_", "MKL_", "GOMP_", "KMP_")
_SETTINGS = {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
_REMEDY = "give the Python of an environment that has sentence-transformers (bench/README.md says how to make one)"


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
        self._python, self._texts = python, texts
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_THREAD_SETTINGS)}
        # -I: neither this folder's modules nor this environment's settings reach the other one.
        command = [str(python), "-I", str(SERVER), str(folder), str(tokens)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                env={**kept, **_SETTINGS},
                text=True,
            )
        except OSError as error:
            self._printed.close()
            message = f"--sentence-transformers {python} cannot be started ({error.strerror}); {_REMEDY}"
            raise InputError(message) from error
        try:
            self.versions: dict[str, str] = self._ask(list(texts))
        except BaseException:
            self.close()
            raise

    def encode(self, batch: int, threads: int) -> tuple[float, NDArray[np.float32]]:
        """Encode all texts; return its own seconds, tokenisation included, and unit vectors, shape (n, hidden)."""
        answer = self._ask({"batch": batch, "threads": threads})
        vectors = np.frombuffer(base64.b64decode(answer["vectors"]), "<f4")
        return float(answer["seconds"]), vectors.reshape(len(self._texts), -1)

    def _ask(self, request: object) -> Any:  # noqa: ANN401  # JSON
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: there is no answer either
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._printed.seek(0)
            last = self._printed.read().strip().splitlines()[-1:] or ["it printed nothing"]
            message = f"--sentence-transformers {self._python} ended with status {self._process.returncode}: {last[0]}"
            raise InputError(f"{message}; {_REMEDY}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._printed.close()
