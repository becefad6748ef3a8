"""What the routes share: one model for all, the memories, and the threads they work in."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

import zenso
from zenso import models
from zenso.bitdelta import SLOT_WIDTH
from zenso.canonical import Role, Want
from zenso.errors import InputError
from zenso.memory import Memory
from zenso.rerank import ZenReranker
from zenso.server.batching import SharedEncoder, ticket
from zenso.server.errors import OverloadedError, RequestError
from zenso.server.keys import KeyFile
from zenso.server.metrics import Metrics
from zenso.server.settings import Settings
from zenso.zen import DenseEmbeddings, ZenEncoder, load_encoder

P = ParamSpec("P")
T = TypeVar("T")


class Services:
    """Everything that lives as long as the server.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = time.time()
        self.version = zenso.__version__
        self.keys = KeyFile(settings.keys)
        self.metrics = Metrics(self)
        self.ending = threading.Event()  # set when the server is told to end; streams without an end then end
        self._lock = threading.RLock()
        self._encoders: dict[str, ZenEncoder] = {}
        self._memories: dict[str, Memory] = {}
        self._threads: anyio.CapacityLimiter | None = None
        self._waiting = 0
        for name, path in settings.memories.items():
            self._memories[name] = self._open(path)

    # --- models ---------------------------------------------------------------------------------------------------

    def encoder(self, model: str | None = None, on_progress: models.OnProgress = models.silent) -> ZenEncoder:
        """Return an encoder whose calls share batches with everybody else's; loaded when first asked for.

        Raises
        ------
        ModelError
            The model is unknown or cannot be fetched.
        """
        name = models.lookup(model or self.settings.model).name
        with self._lock:
            if name not in self._encoders:
                loaded = load_encoder(name, threads=self.settings.threads, on_progress=on_progress)
                shared = SharedEncoder(loaded.canonical, queued_tokens=self.settings.limits.queued_tokens)
                self._encoders[name] = ZenEncoder(name, shared)
            return self._encoders[name]

    @property
    def shared_encoders(self) -> dict[str, SharedEncoder]:
        """The encoders that are loaded, by the name of their model."""
        with self._lock:
            loaded = {name: encoder.canonical for name, encoder in self._encoders.items()}
        return {name: shared for name, shared in loaded.items() if isinstance(shared, SharedEncoder)}

    def reranker(self, memory: Memory | None = None) -> ZenReranker:
        """Return a reranker; with a memory, one that weighs words as the memory does."""
        return ZenReranker(memory=memory) if memory is not None else ZenReranker(encoder=self.encoder())

    # --- memories -------------------------------------------------------------------------------------------------

    @property
    def memories(self) -> dict[str, Memory]:
        """The memories by name, the default one first."""
        with self._lock:
            return dict(self._memories)

    def memory(self, name: str | None = None) -> Memory:
        """Return the memory of a name, or the default one.

        Raises
        ------
        RequestError
            404: there is none.
        """
        with self._lock:
            if name is None and self._memories:
                return next(iter(self._memories.values()))
            if name in self._memories:
                return self._memories[name]
            known = ", ".join(self._memories) or "none"
        wanted = "no memory is served" if name is None else f"there is no memory {name!r}"
        raise RequestError(404, f"{wanted}; there are: {known}", "memory_not_found", "memory")

    def add_memory(self, name: str, path: Path) -> Memory:
        """Open one more memory, made when missing.

        Raises
        ------
        InputError
            The name is in use.
        StorageError
            The folder cannot be used.
        """
        with self._lock:
            if name in self._memories:
                raise InputError(f"there is a memory {name!r} already; choose another name")
            self._memories[name] = self._open(path)
            return self._memories[name]

    def _open(self, path: Path) -> Memory:
        memory: Memory

        def load() -> ZenEncoder:
            info = memory.info()
            return self.encoder(info.model if info.documents else None)

        memory = Memory.open(path, encoder=load)
        return memory

    # --- work -----------------------------------------------------------------------------------------------------

    async def run(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Run a function in a thread, as part of the request that awaits it: it is dropped when the client leaves.

        Raises
        ------
        OverloadedError
            Too many requests wait for a thread.
        """
        limits = self.settings.limits
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(limits.worker_threads)
        if self._waiting >= limits.queued_requests + limits.worker_threads:
            raise OverloadedError(f"{self._waiting:,} requests wait already", self.metrics.typical_seconds)
        self._waiting += 1
        try:
            with ticket() as mine:
                try:
                    return await anyio.to_thread.run_sync(
                        partial(call, *args, **named), abandon_on_cancel=True, limiter=self._threads
                    )
                except asyncio.CancelledError:
                    mine.cancel()
                    raise
        finally:
            self._waiting -= 1

    async def embed(
        self, encoder: ZenEncoder, ids: Sequence[NDArray[np.int32]], dimensions: int, role: Role
    ) -> DenseEmbeddings:
        """Return dense vectors of n texts that are token ids.

        Raises
        ------
        OverloadedError
            Too much waits for the model.
        """
        want = Want.POOLED if dimensions == SLOT_WIDTH else Want.POOLED | Want.TOKENS
        shared = encoder.canonical
        assert isinstance(shared, SharedEncoder)
        encoded = await asyncio.wrap_future(shared.submit(ids, want))
        vectors = encoded.pooled
        if dimensions != SLOT_WIDTH:
            vectors = await self.run(encoder.dense_of, encoded, dimensions, role)
        return DenseEmbeddings(vectors, np.array([len(row) for row in ids], np.int32))

    @property
    def model_names(self) -> list[str]:
        """The models that are run: that of the settings first, then those of memories, then the language model."""
        names = [models.lookup(self.settings.model).name, *self.shared_encoders]
        if self.settings.generation is not None:
            names.append(self.settings.generation.model)
        return list(dict.fromkeys(names))

    @property
    def waiting(self) -> int:
        """Requests that are in a thread or wait for one."""
        return self._waiting

    def close(self) -> None:
        """Finish what is queued and close the memories."""
        for shared in self.shared_encoders.values():
            shared.close()
        for memory in self.memories.values():
            memory.close()
