"""The metrics at `/metrics`, in the format of Prometheus.

Each worker writes its values to files in the folder `PROMETHEUS_MULTIPROC_DIR`, which gunicorn's
configuration sets, and the worker that answers a scrape adds them up. Without the folder, as in the tests,
the values are those of this process.
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

from accounts.limits import settler
from inference import runtime
from inference.engine.backend import Backend
from inference.engine.load import RESULTS, Work
from llmservice import __version__
from llmservice.http import networks
from llmservice.http.request_record import RequestRecord
from llmservice.http.views import OwnMethodsView
from llmservice.now import throughput

LOOPBACK = ("127.0.0.0/8", "::1/128")
OBSERVED_EVERY_S = 1.0
BETWEEN_TOKENS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)

requests = Counter("llmservice_requests", "Answered requests.", ["method", "route", "status"])
request_seconds = Histogram(
    "llmservice_request_seconds",
    "Time from receiving a request to the end of its answer.",
    ["route"],
    buckets=SECONDS,
)
refusals = Counter("llmservice_refusals", "Refused and failed requests, by reason.", ["reason"])
prompt_tokens = Counter("llmservice_prompt_tokens", "Tokens of the prompts of admitted requests.")
completion_tokens = Counter("llmservice_completion_tokens", "Generated tokens.")
first_token_seconds = Histogram(
    "llmservice_time_to_first_token_seconds",
    "Time from the admission of a request to its first token.",
    buckets=SECONDS,
)
between_tokens_seconds = Histogram(
    "llmservice_time_between_tokens_seconds",
    "Mean time between the tokens of a request.",
    buckets=BETWEEN_TOKENS_S,
)
queue_seconds = Histogram(
    "llmservice_queue_wait_seconds",
    "Time from the admission of a request to its first step.",
    buckets=SECONDS,
)
generation_seconds = Histogram(
    "llmservice_generation_seconds", "Time from the first step of a request to its end.", buckets=SECONDS
)


steps = Counter("llmservice_steps", "Forward passes of the model.")
segments = Counter("llmservice_step_segments", "Sequences in each forward pass, added up.")
drafted = Counter("llmservice_drafted_tokens", "Tokens computed as guesses of what follows in a text.")
accepted = Counter("llmservice_accepted_tokens", "Guesses that did follow, without a step of their own.")
preemptions = Counter(
    "llmservice_preemptions", "Requests that gave their space in the KV cache up to others, to be continued."
)
prefix_hits = Counter(
    "llmservice_prefix_cache_hits", "Requests that found their first tokens in the prefix cache."
)
prefix_tokens = Counter(
    "llmservice_prefix_cache_tokens", "Tokens that did not have to be computed, because they were found."
)
prefix_evictions = Counter(
    "llmservice_prefix_cache_evictions",
    "Blocks given up by the prefix cache because their memory was needed.",
)
upstream_attempts = Counter(
    "llmservice_upstream_attempts", "Attempts at the upstream engine that have ended, by result.", ["result"]
)
upstream_retries = Counter(
    "llmservice_upstream_retries",
    "Attempts at the upstream engine that were not the first for their request.",
)
upstream_first_byte_seconds = Histogram(
    "llmservice_upstream_first_byte_seconds",
    "Time from an attempt at the upstream engine to the beginning of its answer.",
    buckets=SECONDS,
)


def _gauge(name: str, help: str) -> Gauge:
    return Gauge(f"llmservice_{name}", help, multiprocess_mode="livesum")


ready = _gauge("ready", "Workers that can generate.")
queued = _gauge("queued_requests", "Requests that wait in the queue.")
running = _gauge("running_requests", "Requests that are being generated.")
kv_tokens_used = _gauge("kv_cache_used_tokens", "Tokens for which space in the KV cache is in use.")
settlements_waiting = _gauge("settlements_waiting", "Accounts of ended requests that wait for the database.")
kv_tokens = _gauge("kv_cache_tokens", "Tokens that fit into the KV cache.")
upstream_cut_off = _gauge(
    "upstream_cut_off", "Workers that send no request to the upstream engine for now, because it fails."
)
info = Gauge(
    "llmservice_info",
    "What serves here; always 1.",
    ["version", "model", "format", "cpu_path"],
    multiprocess_mode="livemax",
)

_counting = threading.Lock()
_counted = Work()
# An alert compares with the value before: a series that began with its first refusal would have none.
ALERTED_REASONS = (
    *("address_limit", "database_unavailable", "generation_failed", "internal_error", "key_invalid"),
    *("overloaded", "time_limit"),
)


def count_request(record: RequestRecord, elapsed_s: float) -> None:
    """Count a request that has been answered."""
    route = record.route or "none"
    requests.labels(record.method, route, str(record.status)).inc()
    request_seconds.labels(route).observe(elapsed_s)
    if record.reason is not None:
        refusals.labels(record.reason).inc()
    prompt_tokens.inc(record.prompt_tokens or 0)
    completion_tokens.inc(record.completion_tokens or 0)
    for seconds, histogram in (
        (record.first_token_s, first_token_seconds),
        (record.between_tokens_s, between_tokens_seconds),
        (record.queued_s, queue_seconds),
        (record.generated_s, generation_seconds),
    ):
        if seconds is not None:
            histogram.observe(seconds)


def observe_engine() -> None:
    """Set the gauges to the current load of this worker."""
    settlements_waiting.set(settler.waiting())
    ready.set(runtime.status().state is runtime.State.READY)
    # A worker that drains finishes its requests: its gauges go down with them.
    backend = runtime.loaded()
    if backend is None:
        for gauge in (queued, running, kv_tokens_used, kv_tokens, upstream_cut_off):
            gauge.set(0)
        return
    load = backend.load
    info.labels(__version__, backend.model_name, backend.weight_format, backend.compute_path).set(1)
    _count_work(backend)
    queued.set(load.queued)
    running.set(load.running)
    kv_tokens_used.set(load.kv_tokens_used)
    kv_tokens.set(load.kv_tokens)
    upstream_cut_off.set(bool(backend.fault))


def _count_work(backend: Backend) -> None:
    """Count what has been computed since the last call; a scrape and the observing thread both call it."""
    global _counted
    with _counting:
        work = backend.work  # with the lock held, so that no caller comes with an older one
        steps.inc(max(0, work.steps - _counted.steps))
        segments.inc(max(0, work.segments - _counted.segments))
        drafted.inc(max(0, work.drafted - _counted.drafted))
        accepted.inc(max(0, work.accepted - _counted.accepted))
        preemptions.inc(max(0, work.preemptions - _counted.preemptions))
        prefix_hits.inc(max(0, work.prefixes.hits - _counted.prefixes.hits))
        prefix_tokens.inc(max(0, work.prefixes.tokens - _counted.prefixes.tokens))
        prefix_evictions.inc(max(0, work.prefixes.evictions - _counted.prefixes.evictions))
        for result in RESULTS:
            before = _counted.upstream.attempts.get(result, 0)
            upstream_attempts.labels(result).inc(max(0, work.upstream.attempts.get(result, 0) - before))
        upstream_retries.inc(max(0, work.upstream.retries - _counted.upstream.retries))
        for seconds in backend.take_first_byte_s():
            upstream_first_byte_seconds.observe(seconds)
        _counted = work
        throughput.COMPLETION.observe(work.completion_tokens)


def start_observing() -> None:
    """Observe the engine in a thread, because another worker may answer the next scrape."""
    for reason in ALERTED_REASONS:
        refusals.labels(reason)

    def observe() -> None:
        while not pause.wait(OBSERVED_EVERY_S):
            observe_engine()

    pause = threading.Event()
    threading.Thread(target=observe, name="metrics", daemon=True).start()


class MetricsView(OwnMethodsView):
    """The metrics of all workers, for holders of METRICS_TOKEN or, if it is unset, for this machine only."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def get(self, request: Request) -> HttpResponse:
        if settings.METRICS_TOKEN:
            expected = f"Bearer {settings.METRICS_TOKEN}".encode()
            if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
                raise PermissionDenied("Send METRICS_TOKEN in the header Authorization: Bearer <token>.")
        elif "X-Forwarded-For" in request.headers or not networks.contain(
            LOOPBACK, request.META.get("REMOTE_ADDR")
        ):
            raise PermissionDenied("METRICS_TOKEN is not set, so only this machine may read the metrics.")
        observe_engine()
        return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
