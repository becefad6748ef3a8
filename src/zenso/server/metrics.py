"""Counters and times of a server, in Prometheus' format and for the status page."""

import itertools
import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from zenso.server.batching import BATCH_SIZES

if TYPE_CHECKING:
    from zenso.server.services import Services

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_RECENT = 500  # requests of a route whose times are kept for the status page


class Metrics:
    """What a server counts.

    Parameters
    ----------
    services : Services
        Its queues and memories are looked at when the numbers are asked for.
    """

    def __init__(self, services: "Services") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each, which says when it began
        self.registry = CollectorRegistry()
        labels = ("route", "method", "status")
        self._requests = Counter("zenso_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "zenso_request_duration_seconds",
            "Time until the end of an answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter("zenso_refusals", "Requests refused, by reason.", ("code",), registry=self.registry)
        self._running = Gauge("zenso_requests_in_progress", "Requests not answered yet.", registry=self.registry)
        about = Info("zenso_server", "Version and model.", registry=self.registry)
        about.info({"version": services.version, "model": services.settings.model})
        ProcessCollector(registry=self.registry)
        self._recent: dict[str, deque[float]] = {}
        self._lock = threading.Lock()
        self.registry.register(_State(services))

    def begin(self) -> None:
        """Count a request that has begun."""
        self._running.inc()

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered, or whose client has left."""
        self._running.dec()
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(seconds)
        if route.endswith("/events"):
            return  # open for as long as somebody looks
        with self._lock:
            self._recent.setdefault(route, deque(maxlen=_RECENT)).append(seconds)

    def refuse(self, code: str) -> None:
        """Count a request that was refused."""
        self._refused.labels(code).inc()

    @property
    def recent(self) -> dict[str, list[float]]:
        """Seconds of the last requests of each route, oldest first."""
        with self._lock:
            return {route: list(times) for route, times in self._recent.items()}

    @property
    def typical_seconds(self) -> float:
        """Mean time of the last requests; 1 where there were none."""
        times = [time for route in self.recent.values() for time in route]
        return sum(times) / len(times) if times else 1.0

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _State:
    """What is looked up at the moment of asking."""

    def __init__(self, services: "Services") -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        """Yield what the queues and the memories hold."""
        queued = GaugeMetricFamily("zenso_model_queued_tokens", "Tokens that wait for a model.", labels=["model"])
        calls = GaugeMetricFamily("zenso_model_queued_calls", "Calls that wait for a model.", labels=["model"])
        tokens = CounterMetricFamily("zenso_model_tokens", "Tokens a model has run.", labels=["model"])
        busy = CounterMetricFamily("zenso_model_busy_seconds", "Time of all workers of a model.", labels=["model"])
        sizes = HistogramMetricFamily("zenso_model_batch_tokens", "Tokens of a batch.", labels=["model"])
        for name, shared in self._services.shared_encoders.items():
            load = shared.load
            queued.add_metric([name], load.queued_tokens)
            calls.add_metric([name], load.queued_requests)
            tokens.add_metric([name], load.tokens)
            busy.add_metric([name], load.busy_seconds)
            bounds = [*map(floatToGoString, BATCH_SIZES), "+Inf"]
            counts = itertools.accumulate(load.batches_by_size)
            sizes.add_metric([name], list(zip(bounds, counts, strict=True)), load.tokens)
        documents = GaugeMetricFamily("zenso_memory_documents", "Documents of a memory.", labels=["memory"])
        for name, memory in self._services.memories.items():
            documents.add_metric([name], len(memory))
        work = GaugeMetricFamily("zenso_thread_calls", "Calls that are in a thread, or wait for one.")
        work.add_metric([], self._services.waiting)
        return queued, calls, tokens, busy, sizes, documents, work
