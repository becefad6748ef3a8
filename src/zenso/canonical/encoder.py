"""Texts to canonical vectors: batches by tokens, spread over threads, the same bits whatever the grouping."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from zenso.canonical.artifact import Artifact
from zenso.canonical.engine import new_kernel
from zenso.canonical.kernel_call import MAX_ROWS, Kernel, KernelInput, KernelOutput, Want
from zenso.canonical.provenance import ModelProvenance
from zenso.canonical.tokenizer import TextTokenizer, check_texts
from zenso.errors import InputError

T = TypeVar("T", bound=np.generic)

_TOKENIZE_AT_ONCE = 2048  # texts; bounds memory on long inputs


@dataclass(frozen=True)
class Encoded:
    """Canonical results for n texts; what was not asked for is empty."""

    ids: list[NDArray[np.int32]]  # n arrays (tokens,): token ids, special tokens included
    pooled: NDArray[np.int16]  # (n, hidden), scale 32767
    slots: NDArray[np.int32]  # (n, cells, hidden): see Want
    tokens: list[NDArray[np.int16]]  # n arrays (tokens, hidden): unit token states, scale 32767


class Role(Enum):
    """What a text is to the search."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True)
class SlotRule:
    """How tokens gather into slots."""

    cells: NDArray[np.int16]  # (cells, hidden): unit directions (scale 32767); a token belongs to the nearest
    token_weights: NDArray[np.int32]  # (vocabulary,): of a token in a query; 1 to 255


class CanonicalEncoder:
    """A model ready to run. May be used from several threads at once.

    Parameters
    ----------
    artifact : Artifact
    threads : int, optional
        Kernel instances that work at the same time; the number of processors by default.
    new_kernel : callable
        Makes these instances; by default of the engine that ``engine.new_kernel`` chooses.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        new_kernel: Callable[[Artifact], Kernel] = new_kernel,
    ) -> None:
        if threads is not None and threads < 1:
            message = f"threads is {threads}; it must be at least 1"
            raise InputError(message)
        self.artifact = artifact
        self.threads = threads or _available_processors()
        self.tokenizer = TextTokenizer(artifact)
        self._new_kernel = new_kernel
        self._idle: list[Kernel] = []
        self._lock = threading.Lock()

    @cached_property
    def provenance(self) -> ModelProvenance:
        """What the bits of this encoder's results depend on."""
        return ModelProvenance.of(self.artifact)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix="zenso-kernel")

    def encode(
        self,
        texts: Sequence[str],
        want: Want = Want.POOLED,
        *,
        role: Role = Role.DOCUMENT,
        slots: SlotRule | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Encoded:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str
            Each is cut to 10,000 characters and to the model's number of tokens.
        want : Want
        role : Role
            Some models were trained to see a prefix before a query, or before a document; it is put there.
        slots : SlotRule, optional
            Needed for slots.
        on_progress : callable, optional
            Called from this thread with the number of texts done since the last call.

        Raises
        ------
        InputError
            A text is not a string, or is empty.
        """
        parts = [self.encode_ids([], want, slots)]
        parts += [self.encode_ids(ids, want, slots, on_progress) for ids in self.tokenize(texts, role)]
        return Encoded(
            ids=[row for part in parts for row in part.ids],
            pooled=np.concatenate([part.pooled for part in parts]),
            slots=np.concatenate([part.slots for part in parts]),
            tokens=[row for part in parts for row in part.tokens],
        )

    def tokenize(self, texts: Sequence[str], role: Role = Role.DOCUMENT) -> Iterator[list[NDArray[np.int32]]]:
        """Yield the token ids of texts, a bounded number of texts at a time; arguments and errors as ``encode``."""
        check_texts(texts)
        prefix = str(self.artifact.config[f"{role.value}_prefix"])
        for start in range(0, len(texts), _TOKENIZE_AT_ONCE):
            yield self.tokenizer.encode(texts[start : start + _TOKENIZE_AT_ONCE], prefix)

    def check_ids(self, ids: Sequence[int]) -> NDArray[np.int32]:
        """Return token ids of one text as ``encode_ids`` takes them: cut, and with the model's special tokens.

        Raises
        ------
        InputError
            There are none, or one is not of the model's vocabulary.
        """
        return self.tokenizer.with_special_tokens(ids)

    def encode_ids(
        self,
        ids: Sequence[NDArray[np.int32]],
        want: Want = Want.POOLED,
        slots: SlotRule | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Encoded:
        """Encode texts that are token ids already, as ``tokenize`` gives them.

        Parameters
        ----------
        ids : arrays int32, shape (tokens,)
            Each with its special tokens, and no longer than the model reads.
        want, slots, on_progress
            As for ``encode``.
        """
        outputs = self._run_batches(_batches(ids), want, slots, on_progress)
        hidden, count = self.artifact.hidden, 0 if slots is None else len(slots.cells)
        rows = [output.tokens for output in outputs] if want & Want.TOKENS else []
        flat = np.concatenate(rows) if rows else np.empty((0, hidden), np.int16)
        return Encoded(
            ids=list(ids),
            pooled=_stack([o.pooled for o in outputs], (0, hidden), np.int16),
            slots=_stack([o.slots for o in outputs], (0, count, hidden), np.int32),
            tokens=np.split(flat, np.cumsum([len(i) for i in ids])[:-1]) if rows else [],
        )

    def _run_batches(
        self,
        batches: list[list[NDArray[np.int32]]],
        want: Want,
        slots: SlotRule | None,
        on_progress: Callable[[int], None] | None,
    ) -> list[KernelOutput]:
        if len(batches) == 1 or self.threads == 1:
            futures: list[Future[KernelOutput]] = []
            results = (self._run(batch, want, slots) for batch in batches)
        else:
            futures = [self._pool.submit(self._run, batch, want, slots) for batch in batches]
            results = (future.result() for future in futures)
        done = []
        try:
            for batch, result in zip(batches, results, strict=True):
                done.append(result)
                if on_progress:
                    on_progress(len(batch))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return done

    def _run(self, batch: list[NDArray[np.int32]], want: Want, slots: SlotRule | None) -> KernelOutput:
        ids = np.concatenate(batch)
        hidden = self.artifact.hidden
        call = KernelInput(
            words=self.artifact.words[ids],
            shifts=self.artifact.shifts[ids].astype(np.int32),
            lengths=np.array([len(i) for i in batch], dtype=np.int32),
            weights=slots.token_weights[ids] if slots else np.ones(len(ids), np.int32),
            cells=slots.cells if slots else np.empty((0, hidden), np.int16),
        )
        with self._instance() as kernel:
            return kernel.run(call, want)

    @contextmanager
    def _instance(self) -> Iterator[Kernel]:
        with self._lock:
            kernel = self._idle.pop() if self._idle else None
        kernel = kernel or self._new_kernel(self.artifact)
        yield kernel  # after an error the instance is dropped: its memory is not trusted any more
        with self._lock:
            self._idle.append(kernel)


def _available_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(ids: Sequence[NDArray[np.int32]]) -> list[list[NDArray[np.int32]]]:
    """Group texts, in order, up to the rows of one call."""
    batches: list[list[NDArray[np.int32]]] = []
    rows = MAX_ROWS
    for item in ids:
        if rows + len(item) > MAX_ROWS:
            batches.append([])
            rows = 0
        batches[-1].append(item)
        rows += len(item)
    return batches


def _stack(parts: list[NDArray[T]], empty: tuple[int, ...], dtype: type[T]) -> NDArray[T]:
    return np.concatenate(parts) if parts else np.empty(empty, dtype=dtype)
