"""What the routes share: one model for all, the memories, and the threads they work in."""

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

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
from zenso.server.chat import Chats
from zenso.server.errors import OverloadedError, RequestError
from zenso.server.keys import KeyFile
from zenso.server.metrics import Metrics
from zenso.server.settings import Settings
from zenso.server.tracing import Tracer
from zenso.zen import DenseEmbeddings, ZenEncoder, load_encoder

if TYPE_CHECKING:
    from zenso.network.node import Node

P = ParamSpec("P")
T = TypeVar("T")
_ENDING = ".zenso"  # of the folders that the server makes


class Services:
    """Everything that lives as long as the server.

    Parameters
    ----------
    settings : Settings
    on_progress : callable
        Told of the fetches of models.
    """

    def __init__(self, settings: Settings, on_progress: models.OnProgress = models.silent) -> None:
        self.settings = settings
        self.started = time.time()
        self.version = zenso.__version__
        self.keys = KeyFile(settings.keys)
        self.metrics = Metrics(self)
        self.tracer = Tracer(settings.tracing)
        self.chats = Chats(self, on_progress)
        self.ending = threading.Event()  # set when the server is told to end; streams without an end then end
        self._lock = threading.Lock()
        self._loading = threading.RLock()  # held for long, and never by who answers requests
        self._encoders: dict[str, ZenEncoder] = {}
        self._memories: dict[str, Memory] = {}
        self._threads = ThreadPoolExecutor(settings.limits.worker_threads, "zenso-work")
        self._waiting = 0
        self.encoder(on_progress=on_progress)
        for name, path in settings.memories.items():
            self._memories[name] = self._open(path)
        for path in sorted(settings.data.glob(f"*{_ENDING}")) if settings.data is not None else ():
            if path.is_dir() and path.stem not in self._memories:
                self._memories[path.stem] = self._open(path)
        self.node = self._start_node()

    # --- models ---------------------------------------------------------------------------------------------------

    def encoder(self, model: str | None = None, on_progress: models.OnProgress = models.silent) -> ZenEncoder:
        """Return an encoder whose calls share batches with everybody else's; loaded when first asked for.

        Raises
        ------
        ModelError
            The model is unknown or cannot be fetched.
        """
        name = models.lookup(model or self.settings.model).name
        if (known := self._encoders.get(name)) is not None:
            return known
        with self._loading:
            if name not in self._encoders:
                loaded = load_encoder(name, threads=self.settings.threads, on_progress=on_progress)
                limit = self.settings.limits.queued_tokens
                shared = SharedEncoder(loaded.canonical, queued_tokens=limit, tracer=self.tracer)
                with self._lock:
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

    def add_memory(self, name: str) -> Memory:
        """Make one more memory, in a folder of its name below ``data``; it is served again after a restart.

        Parameters
        ----------
        name : str
            As the settings allow: it can be no path.

        Raises
        ------
        RequestError
            409: the name is in use, or the server has no folder for memories.
        StorageError
            The folder cannot be used.
        """
        data = self.settings.data
        if data is None:
            raise RequestError(409, "this server makes no memories; set `data` in zenso.toml to a folder", "no_data")
        with self._loading:
            # Not every file system tells upper from lower case.
            if name.casefold() in map(str.casefold, self.memories):
                raise RequestError(409, f"there is a memory {name!r} already; choose another name", "exists", "name")
            memory = self._open(data / f"{name}{_ENDING}")
            with self._lock:
                self._memories[name] = memory
            return memory

    def _open(self, path: Path) -> Memory:
        memory: Memory

        def load() -> ZenEncoder:
            info = memory.info()
            return self.encoder(info.model if info.documents else None)

        memory = Memory.open(path, encoder=load)
        return memory

    # --- the network ----------------------------------------------------------------------------------------------

    def _start_node(self) -> "Node | None":
        """Run the node of the settings; it shares the encoders."""
        if self.settings.node is None:
            return None
        try:
            from zenso.network.node import Node  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise InputError(f"a node needs {error.name}, which is missing: pip install 'zenso[network]'") from None
        return Node(self.settings.node, encoder=self.encoder).__enter__()

    def the_node(self) -> "Node":
        """Return the node that runs beside the server.

        Raises
        ------
        RequestError
            404: there is none.
        """
        if self.node is None:
            raise RequestError(404, "no node runs here; start the server with --node FOLDER", "no_node")
        return self.node

    # --- work -----------------------------------------------------------------------------------------------------

    async def run(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Run a function in a thread, as part of the request that awaits it: it is dropped when the client leaves.

        Raises
        ------
        OverloadedError
            Too many requests wait for a thread.
        """
        limits = self.settings.limits
        if self._waiting >= limits.queued_requests + limits.worker_threads:
            raise OverloadedError(f"{self._waiting:,} requests wait already", self.metrics.typical_seconds)
        with ticket() as mine:
            # A call that runs keeps its thread to its end, also when nobody waits for it any more: clients that come
            # and go do not get more threads than others.
            work = self._threads.submit(contextvars.copy_context().run, self._traced, partial(call, *args, **named))
            self._waiting += 1
            loop = asyncio.get_running_loop()
            work.add_done_callback(lambda _: self._count_down(loop))
            try:
                return await asyncio.wrap_future(work)
            except asyncio.CancelledError:
                mine.cancel()
                raise

    def _traced(self, call: "partial[T]") -> T:
        with self.tracer.span(getattr(call.func, "__qualname__", "work"), {}):
            return call()

    def _count_down(self, loop: asyncio.AbstractEventLoop) -> None:
        def done() -> None:
            self._waiting -= 1

        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(done)

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
        if self.chats.model is not None:
            names.append(self.chats.model)
        return list(dict.fromkeys(names))

    @property
    def waiting(self) -> int:
        """Requests that are in a thread or wait for one."""
        return self._waiting

    def close(self) -> None:
        """Finish what is queued and close the memories."""
        self.chats.close()
        self._threads.shutdown()
        if self.node is not None:
            self.node.close()
        for shared in self.shared_encoders.values():
            shared.close()
        for memory in self.memories.values():
            memory.close()
        self.tracer.close()
