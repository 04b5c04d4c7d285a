"""Logs and counts each request, and gives it an id that client and log share."""

import logging
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse

from llmservice import metrics, tracing
from llmservice.http import request_record
from llmservice.http.request_record import RequestRecord
from llmservice.http.trace_context import TraceContext
from llmservice.now import failures

HEADER = "X-Request-ID"
# These characters need no escaping in a log, a header or a URL.
VALID_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LONGEST_PATH = 256
# A page loads a dozen of them, or one of them every few seconds.
QUIET_ROUTES = frozenset({settings.STATIC_URL, "/favicon.ico", "/admin/now/figures"})
# Probes and scrapes come every few seconds, and say nothing about a request.
UNTRACED_ROUTES = QUIET_ROUTES | {"/health", "/ready", "/metrics"}

logger = logging.getLogger(__name__)


class RequestLogMiddleware:
    """Precedes every middleware that may answer by itself; the line is written once the answer is sent."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        request_finished.connect(_write, dispatch_uid=__name__)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        record = RequestRecord(
            id=given if VALID_ID.fullmatch(given) else uuid.uuid4().hex,
            method=str(request.method) if request.method in METHODS else "other",
            # Quoted as in a URL: a client must not forge a line or send control codes to a terminal.
            path=quote(request.path)[:LONGEST_PATH],
            address=request.META.get("REMOTE_ADDR", ""),
            route=settings.STATIC_URL if request.path.startswith(settings.STATIC_URL) else None,
            trace=TraceContext.read(
                request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
            ),
        )
        tracing.begin(record)
        request_record.begin(record)
        response = self.get_response(request)
        record.status = response.status_code
        response.headers[HEADER] = record.id
        return response

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: object) -> None:
        record, match = request_record.current(), request.resolver_match
        if record is not None and match is not None:
            record.route = None if match.url_name == "not-found" else f"/{match.route}"


def _write(**signal: Any) -> None:
    record = request_record.current()
    if record is None:
        return
    elapsed_s = record.elapsed_s
    metrics.count_request(record, elapsed_s)
    failures.note(record)
    if record.route not in UNTRACED_ROUTES:
        tracing.end(record)
    level = logging.DEBUG if record.route in QUIET_ROUTES and record.status < 400 else logging.INFO
    line = f'{record.address} "{record.method} {record.path}" {record.status} {elapsed_s * 1000:.0f} ms'
    details = {
        "trace_id": None if record.trace is None else record.trace.trace_id,
        "key_id": record.key_id,
        "reason": record.reason,
        "outcome": record.outcome,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        "queued_s": _rounded(record.queued_s),
        "first_token_s": _rounded(record.first_token_s),
        "between_tokens_s": _rounded(record.between_tokens_s),
        "generated_s": _rounded(record.generated_s),
        "prompt": record.prompt,
    }
    known = {name: value for name, value in details.items() if value is not None}
    if settings.LOG_FORMAT == "json":
        common = {
            "address": record.address,
            "method": record.method,
            "route": record.route,
            "status": record.status,
            "elapsed_s": _rounded(elapsed_s),
        }
        logger.log(level, "%s", line, extra={"fields": common | known})
    else:
        logger.log(level, "%s", " ".join([line, *(f"{name}={value!r}" for name, value in known.items())]))
    request_record.end()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
