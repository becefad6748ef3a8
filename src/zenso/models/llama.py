"""llama.cpp in this process, through ``xllamacpp``: what generation and embeddings from GGUF files share."""

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zenso.errors import ModelError
from zenso.models.gguf import Value

if TYPE_CHECKING:
    import xllamacpp

BATCH_TOKENS = 512  # read at once; a generation can be stopped between two batches of its prompt


def import_xllamacpp() -> Any:  # noqa: ANN401 - a module
    """Return the module ``xllamacpp``.

    Raises
    ------
    ModelError
        It is not installed.
    """
    try:
        import xllamacpp  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ModelError("GGUF models need xllamacpp, which is missing: pip install 'zenso[llm]'") from error
    return xllamacpp


def parameters(path: Path, *, threads: int | None, context: int, parallel: int = 1) -> "xllamacpp.CommonParams":
    """Return llama.cpp's parameters for a memory-mapped model, ``context`` tokens for each of ``parallel`` requests."""
    llama = import_xllamacpp()
    given = llama.CommonParams()
    given.model.path = str(path)
    given.load_mode = llama.llama_load_mode.LLAMA_LOAD_MODE_MMAP
    given.n_ctx = context * parallel
    given.n_parallel = parallel
    given.n_batch = given.n_ubatch = BATCH_TOKENS
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = threads or _usable_processors()
    given.warmup = False
    given.verbosity = 0  # problems arrive as exceptions
    given.ui = given.endpoint_slots = False
    given.n_threads_http = 1
    return given


class Engine:
    """A loaded model. llama.cpp's own HTTP listener, which cannot be switched off, gets a private socket and key."""

    def __init__(self, path: Path, given: "xllamacpp.CommonParams") -> None:
        # A folder of mode 700: nobody else can connect, and no port is open.
        folder = tempfile.mkdtemp(prefix="zenso-")
        given.hostnames = [f"{folder}/llama.sock"]
        given.api_keys = [secrets.token_hex(16)]
        try:
            self.server: xllamacpp.Server | None = import_xllamacpp().Server(given)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load {path} with {given.n_ctx} tokens of context: this kind of model is unknown, "
                "the file is damaged, or memory is short; try a smaller context, or another file"
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Free the model."""
        self.server = None


def trained_context(metadata: dict[str, Value], path: Path) -> int:
    """Most tokens that the model was trained for.

    Raises
    ------
    ModelError
        The file does not say it.
    """
    length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    if not isinstance(length, int) or length < 1:
        raise ModelError(f"{path} does not say how many tokens of context its model takes; it is no language model")
    return length


def _usable_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
