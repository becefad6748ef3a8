"""OpenTelemetry: a span for each request, and within it for its work in a thread and its texts in the model.

Spans hold names, sizes and times; never the text of documents, queries or addresses.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

import zenso
from zenso.errors import InputError
from zenso.server.settings import Tracing

if TYPE_CHECKING:
    from concurrent.futures import Future

    from opentelemetry.trace import Span, SpanContext

Attributes = Mapping[str, str | int | float]


class Tracer:
    """Sends spans to a collector; does nothing where there is none.

    Parameters
    ----------
    settings : Tracing, optional

    Raises
    ------
    InputError
        ``zenso[otel]`` is not installed.
    """

    def __init__(self, settings: Tracing | None) -> None:
        self._provider: Any = None
        if settings is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
        except ImportError:
            raise InputError("tracing needs more packages; install them with: pip install 'zenso[otel]'") from None
        resource = Resource.create({"service.name": "zenso", "service.version": zenso.__version__})
        self._provider = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(settings.share))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
        self._tracer = self._provider.get_tracer("zenso", zenso.__version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, scope: Scope, attributes: Attributes) -> Iterator["Span | None"]:
        """Trace a request, as part of its client's trace where it names one."""
        if self._provider is None:
            yield None
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._propagator.extract(headers),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,  # its message may quote a document
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def span(self, name: str, attributes: Attributes, links: Sequence["SpanContext"] = ()) -> Iterator[None]:
        """Trace a part of the work."""
        if self._provider is None:
            yield
            return
        from opentelemetry.trace import Link  # noqa: PLC0415

        with self._tracer.start_as_current_span(
            name,
            attributes=attributes,
            links=[Link(context) for context in links],
            record_exception=False,
            set_status_on_exception=False,
        ):
            yield

    def follow(self, name: str, attributes: Attributes, future: "Future[Any]") -> "SpanContext | None":
        """Trace from now on until a future is done."""
        if self._provider is None:
            return None
        span = self._tracer.start_span(name, attributes=attributes)
        future.add_done_callback(lambda _: span.end())
        context: SpanContext = span.get_span_context()
        return context

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()
