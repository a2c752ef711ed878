"""Spans to an OpenTelemetry collector over OTLP/HTTP. Imported only where tracing is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rlhf_service.tracing.base import Span, Value

CARRIER = TraceContextTextMapPropagator()
SEND_SECONDS = 5
DELAY_MILLISECONDS = 200
"""Actors are killed at a job's end; what is not sent then is lost."""


class OtlpSpan:
    """One OpenTelemetry span."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        CARRIER.inject(carrier, trace.set_span_in_context(self._span))
        return carrier.get("traceparent", "")

    def note(self, **attributes: Value) -> None:
        self._span.set_attributes({f"rlhf.{name}": value for name, value in attributes.items()})

    def rename(self, name: str) -> None:
        self._span.update_name(name)


class OtlpTracer:
    """A provider of its own, so that nothing else in the process is traced by it."""

    def __init__(self, endpoint: str, service: str) -> None:
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        batches = BatchSpanProcessor(exporter, schedule_delay_millis=DELAY_MILLISECONDS)
        self._provider.add_span_processor(batches)
        self._tracer = self._provider.get_tracer("rlhf-service")

    @contextmanager
    def span(self, name: str, parent: str | None = None, **attributes: Value) -> Iterator[Span]:
        above: Context | None = CARRIER.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(name, context=above) as found:
            span = OtlpSpan(found)
            span.note(**attributes)
            yield span

    def close(self) -> None:
        self._provider.force_flush(SEND_SECONDS * 1000)
        self._provider.shutdown()
