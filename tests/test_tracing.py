"""Traces of requests, as a collector gets them from OpenTelemetry's own exporter."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts import services
from inference import upstream
from inference.engine.engine import Engine
from llmservice import tracing
from llmservice.http import request_record
from llmservice.http.request_record import RequestRecord
from llmservice.http.trace_context import TraceContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@dataclass
class Collector:
    """What has been sent to a collector of spans."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    service: dict[str, Any] = field(default_factory=dict)

    def spans(self) -> list[Any]:
        """The spans of all that was sent until now, with their attributes as a dictionary."""
        messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        spans = []
        for body in self.bodies:
            for group in messages.ExportTraceServiceRequest.FromString(body).resource_spans:
                self.service = attributes(group.resource)
                spans += [span for scope in group.scope_spans for span in scope.spans]
        return spans


def attributes(of: Any) -> dict[str, Any]:
    def value(any_value: Any) -> Any:
        kind = any_value.WhichOneof("value")
        if kind == "array_value":
            return [value(item) for item in any_value.array_value.values]
        return getattr(any_value, kind)

    return {pair.key: value(pair.value) for pair in of.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the service sends its spans to."""
    pytest.importorskip("opentelemetry.sdk")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert "gzip" not in self.headers.get("Content-Encoding", "")
            collected.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collected = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "")  # as Compose passes it on
        tracing.start(os.environ)
        yield collected
        tracing.stop()
        server.shutdown()


def generate(client: Client, path: str = "/generate", **fields: object) -> Any:
    key = services.create_key(name="search").plaintext
    headers = {"X-API-Key": key, "traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    answer = client.post(path, fields, content_type="application/json", headers=headers)
    assert answer.getvalue()  # a stream is read to its end
    return answer


@pytest.mark.django_db
def test_a_generation_is_a_span_of_the_callers_trace_with_its_stages(
    client: Client, engine: Engine, collector: Collector
) -> None:
    generate(client, prompt="a private matter", max_new_tokens=3, do_sample=False)
    tracing.stop()

    spans = collector.spans()
    assert [span.name for span in spans] == [
        *("queue", "prefill", "decode", "settlement"),
        f"text_completion {engine.model_name}",
    ]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    *stages, request = spans
    assert request.parent_span_id.hex() == CALLER
    assert request.trace_state == "vendor=1"
    assert {stage.parent_span_id for stage in stages} == {request.span_id}
    told = attributes(request)
    assert told["gen_ai.operation.name"] == "text_completion"
    assert told["gen_ai.usage.input_tokens"] == len("a private matter")
    assert told["gen_ai.usage.output_tokens"] == told["gen_ai.request.max_tokens"] == 3
    assert told["gen_ai.request.temperature"] == 0
    assert told["gen_ai.response.finish_reasons"] == ["length"]
    assert (told["http.route"], told["http.response.status_code"]) == ("/generate", 200)
    assert "private" not in str(spans)
    assert collector.service["service.name"] == "llmservice"

    times = [(stage.start_time_unix_nano, stage.end_time_unix_nano) for stage in stages]
    assert request.start_time_unix_nano <= times[0][0]
    assert times[-1][1] <= request.end_time_unix_nano
    assert times == sorted(times)
    assert [times[0][1], times[1][1]] == [times[1][0], times[2][0]]


@pytest.mark.django_db
def test_each_text_of_a_request_has_its_stages(client: Client, engine: Engine, collector: Collector) -> None:
    generate(client, "/v1/completions", model=engine.model_name, prompt="a", max_tokens=2, n=2, stream=True)
    tracing.stop()

    *stages, request = collector.spans()
    assert [attributes(stage)["llmservice.text"] for stage in stages if stage.name == "decode"] == [0, 1]
    assert attributes(request)["gen_ai.request.choice.count"] == 2
    assert attributes(request)["gen_ai.response.time_to_first_chunk"] >= 0


def test_a_collector_that_does_not_answer_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setattr(tracing, "SENT_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        tracing.start(os.environ)
        record = RequestRecord(id="1", method="GET", path="/v1/models", address="127.0.0.1")
        tracing.begin(record)
        tracing.end(record)
        stopping = threading.Thread(target=tracing.stop, daemon=True)
        stopping.start()
        stopping.join(5)  # the exporter's own limit is 10 s
        assert not stopping.is_alive()


@pytest.mark.django_db
def test_a_refused_request_says_why_and_probes_are_left_out(
    client: Client, engine: Engine, collector: Collector
) -> None:
    client.get("/health")
    client.post("/generate", {}, content_type="application/json", headers={"X-API-Key": "wrong"})
    tracing.stop()

    [span] = collector.spans()
    assert span.name == "POST /generate"
    assert not span.parent_span_id
    assert attributes(span)["error.type"] == "key_invalid"


@pytest.mark.django_db
def test_a_trace_that_its_caller_does_not_record_is_not_recorded_here(
    client: Client, engine: Engine, collector: Collector
) -> None:
    client.get("/schema", headers={"traceparent": TRACEPARENT.removesuffix("01") + "00"})
    tracing.stop()

    assert collector.spans() == []


def test_an_engine_behind_the_service_is_told_the_span_of_the_request(collector: Collector) -> None:
    record = RequestRecord(
        id="request-7", method="POST", path="/generate", trace=TraceContext.read(TRACEPARENT)
    )
    tracing.begin(record)
    request_record.begin(record)
    try:
        told = upstream._headers()
    finally:
        request_record.end()

    _, trace, span, flags = told["traceparent"].split("-")
    assert (trace, flags, told["X-Request-ID"]) == (TRACE, "01", "request-7")
    assert span != CALLER


def test_without_tracing_the_callers_trace_travels_on() -> None:
    record = RequestRecord(id="1", method="POST", path="/", trace=TraceContext.read(TRACEPARENT))
    tracing.begin(record)
    request_record.begin(record)
    try:
        assert upstream._headers()["traceparent"] == TRACEPARENT
    finally:
        request_record.end()
    assert record.span is None


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_SERVICE_NAME": "front"}, ""),
    ],
)
def test_the_standard_variables_decide_where_spans_go(environ: dict[str, str], wanted: str) -> None:
    assert tracing.exporter(environ) == wanted


def test_a_start_that_cannot_record_what_is_wanted_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert tracing.missing({}) == ""
    assert "requirements/tracing.txt" in tracing.missing({"OTEL_TRACES_EXPORTER": "otlp"})
    assert "not 'zipkin'" in tracing.missing({"OTEL_TRACES_EXPORTER": "zipkin"})
    grpc = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert "http/protobuf" in tracing.missing(grpc)


@pytest.mark.slow
def test_a_part_of_opentelemetry_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    script = "from llmservice import tracing; print(tracing.missing({'OTEL_TRACES_EXPORTER': 'otlp'}))"
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "requirements/tracing.txt" in told.stdout
