"""What a monitoring system reads from `/metrics`, in Prometheus' format.

Each worker writes its numbers to files in the folder that `PROMETHEUS_MULTIPROC_DIR` names, and whichever is
asked adds all of them up; gunicorn's configuration sets the folder. Without it, as in the tests, the numbers
are those of this process.
"""

import hmac
import os
import threading

from django.conf import settings
from django.http import HttpResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from inference import runtime
from inference.engine.errors import Unavailable
from llmservice.http import networks
from llmservice.http.request_record import RequestRecord
from llmservice.http.views import OwnMethodsView

LOOPBACK = ("127.0.0.0/8", "::1/128")
OBSERVED_EVERY_S = 1.0
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)

requests = Counter("llmservice_requests", "Requests that were answered.", ["method", "route", "status"])
request_seconds = Histogram(
    "llmservice_request_seconds", "From a request to the end of its answer.", ["route"], buckets=SECONDS
)
refusals = Counter("llmservice_refusals", "Requests that were refused or failed.", ["reason"])
prompt_tokens = Counter("llmservice_prompt_tokens", "Tokens of prompts that were taken in.")
completion_tokens = Counter("llmservice_completion_tokens", "Tokens that were generated.")
first_token_seconds = Histogram(
    "llmservice_time_to_first_token_seconds",
    "From a request's admission to its first token.",
    buckets=SECONDS,
)
queue_seconds = Histogram(
    "llmservice_queue_wait_seconds", "From a request's admission to its first step.", buckets=SECONDS
)
generation_seconds = Histogram(
    "llmservice_generation_seconds", "From a request's first step to its end.", buckets=SECONDS
)


def _gauge(name: str, help: str) -> Gauge:
    return Gauge(f"llmservice_{name}", help, multiprocess_mode="livesum")


ready = _gauge("ready", "Workers that can generate.")
queued = _gauge("queued_requests", "Requests that wait for a place.")
running = _gauge("running_requests", "Requests that generate.")
kv_tokens_used = _gauge("kv_cache_used_tokens", "Places of the KV cache that are taken.")
kv_tokens = _gauge("kv_cache_tokens", "Places of the KV cache.")


def count_request(record: RequestRecord, elapsed_s: float) -> None:
    """A request has been answered."""
    route = record.route or "none"
    requests.labels(record.method, route, str(record.status)).inc()
    request_seconds.labels(route).observe(elapsed_s)
    if record.reason is not None:
        refusals.labels(record.reason).inc()
    prompt_tokens.inc(record.prompt_tokens or 0)
    completion_tokens.inc(record.completion_tokens or 0)
    for seconds, histogram in (
        (record.first_token_s, first_token_seconds),
        (record.queued_s, queue_seconds),
        (record.generated_s, generation_seconds),
    ):
        if seconds is not None:
            histogram.observe(seconds)


def observe_engine() -> None:
    """Take over how much this worker's engine has to do now."""
    try:
        load = runtime.backend().load
    except Unavailable:
        ready.set(0)
        return
    ready.set(1)
    queued.set(load.queued)
    running.set(load.running)
    kv_tokens_used.set(load.kv_tokens_used)
    kv_tokens.set(load.kv_tokens)


def start_observing() -> None:
    """Go on observing the engine, in a thread: another worker may be asked for this one's numbers."""

    def observe() -> None:
        while not pause.wait(OBSERVED_EVERY_S):
            observe_engine()

    pause = threading.Event()
    threading.Thread(target=observe, name="metrics", daemon=True).start()


class MetricsView(OwnMethodsView):
    """The numbers of all workers: for whoever has the token or, without one, for this machine alone."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def get(self, request: Request) -> HttpResponse:
        if settings.METRICS_TOKEN:
            expected = f"Bearer {settings.METRICS_TOKEN}".encode()
            if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
                raise PermissionDenied("Send the header Authorization: Bearer, with METRICS_TOKEN.")
        elif "X-Forwarded-For" in request.headers or not networks.contain(
            LOOPBACK, request.META.get("REMOTE_ADDR")
        ):
            raise PermissionDenied("METRICS_TOKEN is not set, so the metrics are for this machine alone.")
        observe_engine()
        return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
