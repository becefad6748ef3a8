"""One model for many requests: their texts are run together, by tokens, the small requests first.

A request of n tokens that comes when m tokens have been run has the place m + 16 n in the queue. So one of a single
text does not wait for those of many, equal ones are served as they came, and none waits for ever: whoever comes after
16 n more tokens stands behind it. Whoever has gone away is passed over. Workers take the next batch when they are done
with the last: nothing waits for a batch to fill.
"""

import bisect
import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zenso.canonical import CanonicalEncoder, Encoded, SlotRule, Want
from zenso.server.errors import OverloadedError
from zenso.server.tracing import Tracer

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

BATCH_TOKENS = 256  # a token costs no less in larger batches, and whoever comes waits for one to end
BATCH_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)  # tokens; by which batches are counted
_PATIENCE = 16  # tokens that may be run for others first, for each token of a request
_RATE_MEMORY = 0.9  # of the running mean of tokens a second


class Ticket:
    """One request of a client, who may leave: what was queued for it is then dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: list[_Job] = []
        self.cancelled = False
        self.tokens = 0  # that the model was given for it

    def cancel(self) -> None:
        """Drop what waits, and refuse what comes."""
        with self._lock:
            self.cancelled = True
            jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.future.cancel()

    def hold(self, job: "_Job") -> None:
        """Take note of a job; it is cancelled at once if the client has left."""
        with self._lock:
            if not self.cancelled:
                self.tokens += job.tokens
                self._jobs = [one for one in self._jobs if not one.future.done()]
                self._jobs.append(job)
                return
        job.future.cancel()


_ticket: contextvars.ContextVar[Ticket | None] = contextvars.ContextVar("zenso_ticket", default=None)


@contextmanager
def ticket() -> Iterator[Ticket]:
    """Let everything that is encoded inside belong to one request."""
    mine = Ticket()
    token = _ticket.set(mine)
    try:
        yield mine
    finally:
        _ticket.reset(token)


def tokens_read() -> int:
    """Return how many tokens the model was given for the request that this is part of."""
    mine = _ticket.get()
    return 0 if mine is None else mine.tokens


@dataclass(eq=False)
class _Job:
    """The texts of one call, some of them done."""

    ids: Sequence[NDArray[np.int32]]
    want: Want
    slots: SlotRule | None
    tokens: int
    future: "Future[Encoded]" = field(default_factory=Future)
    on_progress: Callable[[int], None] | None = None
    place: int = 0
    taken: int = 0
    done: int = 0
    over: bool = False
    parts: dict[int, Encoded] = field(default_factory=dict)  # by the first of their texts
    trace: "SpanContext | None" = None

    @property
    def key(self) -> tuple[Want, int]:
        """Jobs of one key can share a batch."""
        return self.want, id(self.slots)


@dataclass(frozen=True)
class Load:
    """What a queue holds and has done, for the status page and metrics."""

    queued_tokens: int
    queued_requests: int
    batches_by_size: tuple[int, ...]  # of at most so many tokens as BATCH_SIZES has, each without those before; more
    tokens: int
    busy_seconds: float  # all workers together
    tokens_per_second: float  # while at work, all workers together

    @property
    def batches(self) -> int:
        """How many were run."""
        return sum(self.batches_by_size)


class SharedEncoder(CanonicalEncoder):
    """A canonical encoder whose calls, from any number of threads, are run in common batches.

    Parameters
    ----------
    encoder : CanonicalEncoder
        Its artifact is run, by as many workers as it has threads.
    queued_tokens : int
        A call that finds more than this waiting is refused.
    tracer : Tracer
    """

    def __init__(self, encoder: CanonicalEncoder, *, queued_tokens: int, tracer: Tracer) -> None:
        # Each batch is one call of the kernel, run by the worker itself.
        super().__init__(encoder.artifact, threads=1)
        self._limit = queued_tokens
        self._tracer = tracer
        self._waiting: list[_Job] = []  # by their place
        self._taken = 0  # tokens
        self._tokens_waiting = 0
        self._change = threading.Condition()
        self._closed = False
        self._batches = [0] * (len(BATCH_SIZES) + 1)
        self._tokens = 0
        self._busy_seconds = 0.0
        self._rate = 2000.0  # tokens a second of one worker; measured from the first batch on
        self._workers = [
            threading.Thread(target=self._work, name=f"zenso-model-{number}", daemon=True)
            for number in range(encoder.threads)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def load(self) -> Load:
        """What waits and what was done."""
        with self._change:
            rate = self._rate * len(self._workers)
            return Load(
                self._tokens_waiting, len(self._waiting), tuple(self._batches), self._tokens, self._busy_seconds, rate
            )

    def submit(
        self,
        ids: Sequence[NDArray[np.int32]],
        want: Want = Want.POOLED,
        slots: SlotRule | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> "Future[Encoded]":
        """Queue texts; arguments as of ``encode_ids``, and the result in a future, which may be cancelled.

        Raises
        ------
        OverloadedError
            Too much waits already.
        """
        job = _Job(ids, want, slots, sum(len(row) for row in ids), on_progress=on_progress)
        if not ids:
            job.future.set_result(super().encode_ids([], want, slots))
            return job.future
        with self._change:
            if self._closed:
                raise OverloadedError("the server is shutting down; try again when it is back", 5)
            # One call alone may be larger than the limit: it would never be taken otherwise.
            if self._tokens_waiting and self._tokens_waiting + job.tokens > self._limit:
                seconds = self._tokens_waiting / (self._rate * len(self._workers))
                raise OverloadedError(f"{self._tokens_waiting:,} tokens wait for the model already", seconds)
            job.trace = self._tracer.follow("encode", {"zenso.texts": len(ids), "zenso.tokens": job.tokens}, job.future)
            job.place = self._taken + _PATIENCE * job.tokens
            bisect.insort(self._waiting, job, key=lambda one: one.place)
            self._tokens_waiting += job.tokens
            self._change.notify()
        job.future.add_done_callback(lambda future: self._drop(job) if future.cancelled() else None)
        if (mine := _ticket.get()) is not None:
            mine.hold(job)
        return job.future

    def encode_ids(
        self,
        ids: Sequence[NDArray[np.int32]],
        want: Want = Want.POOLED,
        slots: SlotRule | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Encoded:
        """Encode texts that are token ids already, and wait for them.

        Raises
        ------
        OverloadedError
            Too much waits already.
        CancelledError
            The client who asked has left.
        """
        return self.submit(ids, want, slots, on_progress).result()

    def close(self) -> None:
        """Finish what waits, refuse what comes, and end the workers."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for worker in self._workers:
            worker.join()

    def _drop(self, job: _Job) -> None:
        """Make room at once when a client leaves, not when its turn would have come."""
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)
                self._tokens_waiting -= sum(len(row) for row in job.ids[job.taken :])

    # --- the workers' side ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if not self._waiting:
                    return
                batch = self._next_batch()
            if batch:
                self._run_batch(batch)

    def _next_batch(self) -> list[tuple[_Job, slice]]:
        """Take texts of the jobs that wait, those of the first as far as there is room, then those of the next."""
        batch: list[tuple[_Job, slice]] = []
        left: list[_Job] = []
        room = BATCH_TOKENS
        for job in self._waiting:
            if job.future.done():  # its client has left, or a part of it has failed
                self._tokens_waiting -= sum(len(row) for row in job.ids[job.taken :])
                continue
            if room > 0 and (not batch or job.key == batch[0][0].key):
                first = job.taken
                while job.taken < len(job.ids):
                    size = len(job.ids[job.taken])
                    if size > room and (batch or job.taken > first):
                        break
                    job.taken += 1
                    room -= size
                    self._tokens_waiting -= size
                    self._taken += size
                if job.taken > first:
                    batch.append((job, slice(first, job.taken)))
                if job.taken == len(job.ids):
                    continue
                room = 0  # the next job does not go before the rest of this one
            left.append(job)
        self._waiting = left
        if left:
            self._change.notify()
        return batch

    def _run_batch(self, batch: list[tuple[_Job, slice]]) -> None:
        job = batch[0][0]
        began = time.monotonic()
        ids = [row for one, texts in batch for row in one.ids[texts]]
        tokens = sum(map(len, ids))
        traces = [one.trace for one, _ in batch if one.trace is not None]
        try:
            with self._tracer.span("model batch", {"zenso.texts": len(ids), "zenso.tokens": tokens}, traces):
                encoded = super().encode_ids(ids, job.want, job.slots)
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked, and the worker goes on
            for one, _ in batch:
                self._finish(one, error)
            return
        seconds = time.monotonic() - began
        rate = tokens / max(seconds, 1e-6)
        finished = []
        place = 0
        with self._change:
            self._rate = _RATE_MEMORY * self._rate + (1 - _RATE_MEMORY) * rate
            self._batches[bisect.bisect_left(BATCH_SIZES, tokens)] += 1
            self._tokens += tokens
            self._busy_seconds += seconds
            for one, texts in batch:
                count = texts.stop - texts.start
                one.parts[texts.start] = _rows(encoded, slice(place, place + count))
                one.done += count
                place += count
                if one.done == len(one.ids):
                    finished.append(one)
        for one, texts in batch:
            if one.on_progress is None or one.future.done():
                continue
            try:
                one.on_progress(texts.stop - texts.start)
            except Exception as error:  # noqa: BLE001 - it is whoever's wants to know, and the worker goes on
                self._finish(one, error)
        for one in finished:
            self._finish(one, _joined(one))

    def _finish(self, job: _Job, result: Encoded | BaseException) -> None:
        """Hand over a result, the first one of a job, unless the client has gone."""
        with self._change:
            if job.over:
                return
            job.over = True
        if not job.future.set_running_or_notify_cancel():
            return
        if isinstance(result, BaseException):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def _rows(encoded: Encoded, texts: slice) -> Encoded:
    return Encoded(encoded.ids[texts], encoded.pooled[texts], encoded.slots[texts], encoded.tokens[texts])


def _joined(job: _Job) -> Encoded:
    parts = [job.parts[first] for first in sorted(job.parts)]
    if len(parts) == 1:
        return parts[0]
    return Encoded(
        ids=list(job.ids),
        pooled=np.concatenate([part.pooled for part in parts]),
        slots=np.concatenate([part.slots for part in parts]),
        tokens=[row for part in parts for row in part.tokens],
    )


__all__ = [
    "BATCH_SIZES",
    "BATCH_TOKENS",
    "CancelledError",
    "Load",
    "SharedEncoder",
    "Ticket",
    "ticket",
    "tokens_read",
]
