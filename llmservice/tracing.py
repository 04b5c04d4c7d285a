"""Traces of requests by OpenTelemetry, if the standard variables `OTEL_…` name where they go.

The packages are those of `requirements/tracing.txt`. Without the variables they are not imported, and a
request only keeps the trace id that its client has sent.
"""

import importlib.util
import logging
import threading
import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from llmservice import __version__
from llmservice.http.request_record import AttributeValue, RequestRecord
from llmservice.http.trace_context import TraceContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTERS = ("otlp", "console")
SENT_WITHIN_S = 3.0

logger = logging.getLogger(__name__)

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def exporter(environ: Mapping[str, str]) -> str:
    """Where spans go, `otlp` or `console`; empty if none are wanted."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    wanted = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if not wanted:
        return "otlp" if any(environ.get(name) for name in ENDPOINTS) else ""
    return "" if wanted == "none" else wanted


def missing(environ: Mapping[str, str]) -> str:
    """Why the spans that the variables ask for cannot be recorded; empty if they can, or none are wanted."""
    wanted = exporter(environ)
    if not wanted:
        return ""
    if wanted not in EXPORTERS:
        return f"OTEL_TRACES_EXPORTER must be otlp, console or none, not {wanted!r}."
    protocol = next((text for name in PROTOCOLS if (text := environ.get(name))), "http/protobuf")
    if protocol != "http/protobuf":
        return f"OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, not {protocol!r}."
    if not _installed():
        return (
            "OpenTelemetry is not installed, and the variables OTEL_… ask for traces: run `pip install -r "
            "requirements/tracing.txt`, or unset them."
        )
    return ""


def _installed() -> bool:
    """Whether what sends spans is installed: other packages may have brought a part of OpenTelemetry."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def start(environ: MutableMapping[str, str]) -> None:
    """Record spans from now on, if the variables ask for them; the SDK reads the rest of them itself."""
    global _provider, _tracer
    wanted = exporter(environ)
    if not wanted:
        return
    # Empty variables count as unset, as those of this service do: Compose passes on each.
    for name in [name for name, text in environ.items() if name.startswith("OTEL_") and not text]:
        del environ[name]
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    resource = Resource.create()
    ours = {"service.version": __version__}
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        ours["service.name"] = "llmservice"
    _provider = TracerProvider(resource=resource.merge(Resource(ours)), shutdown_on_exit=False)
    if wanted == "console":
        _provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("llmservice", __version__)


def stop() -> None:
    """Send what has been recorded, within a few seconds."""
    global _provider, _tracer
    stopped, _provider, _tracer = _provider, None, None
    if stopped is None:
        return
    # Not awaited to its end: where no collector answers, the exporter tries for its whole time limit.
    sending = threading.Thread(target=stopped.shutdown, name="traces", daemon=True)
    sending.start()
    sending.join(SENT_WITHIN_S)


def begin(record: RequestRecord) -> None:
    """Open the span of a request, which continues the trace of its client."""
    if _tracer is None:
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    caller = record.trace.headers() if record.trace is not None else {}
    span = _tracer.start_span(
        record.method,
        context=TraceContextTextMapPropagator().extract(caller),
        kind=trace.SpanKind.SERVER,
        attributes={
            "http.request.method": record.method,
            "url.path": record.path,
            "client.address": record.address,
            "llmservice.request_id": record.id,
        },
    )
    context = span.get_span_context()
    record.trace = TraceContext(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        flags=f"{context.trace_flags:02x}",
        state=context.trace_state.to_header(),
    )
    if span.is_recording():
        record.span = RequestSpan(_tracer, span, name=record.method)


def end(record: RequestRecord) -> None:
    """Close the span of a request that has been answered."""
    if isinstance(record.span, RequestSpan):
        record.span.end(record)


class RequestSpan:
    """The span of a request, and the spans of its stages; one that is never ended is not sent."""

    def __init__(self, tracer: "Tracer", span: "Span", *, name: str) -> None:
        self._tracer = tracer
        self._span = span
        self._name = name
        self._clock_began_ns = time.time_ns() - time.monotonic_ns()

    def describe(self, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        self._name = name
        self._span.set_attributes(dict(attributes))

    def stage(
        self, name: str, began_at: float, ended_at: float, attributes: Mapping[str, AttributeValue]
    ) -> None:
        from opentelemetry import trace

        inside = trace.set_span_in_context(self._span)
        span = self._tracer.start_span(
            name, context=inside, start_time=self._epoch_ns(began_at), attributes=dict(attributes)
        )
        span.end(self._epoch_ns(ended_at))

    def end(self, record: RequestRecord) -> None:
        """Say how the request was answered, and end."""
        from opentelemetry.trace import StatusCode

        told: dict[str, Any] = {
            "http.route": record.route,
            "http.response.status_code": record.status,
            "error.type": record.reason,
            "llmservice.key_id": record.key_id,
        }
        self._span.set_attributes({name: value for name, value in told.items() if value is not None})
        if record.status >= 500:
            self._span.set_status(StatusCode.ERROR)
        if self._name == record.method and record.route is not None:
            self._name = f"{record.method} {record.route}"
        self._span.update_name(self._name)
        self._span.end()

    def _epoch_ns(self, seconds: float) -> int:
        return self._clock_began_ns + round(seconds * 1e9)
