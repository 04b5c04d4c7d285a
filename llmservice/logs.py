"""The log of Django and gunicorn on stderr: text for people or JSON for programs."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from llmservice.http import request_record


def is_failure(record: logging.LogRecord) -> bool:
    """Whether Django's `record` reports an unexpected error, not a refused request."""
    return record.exc_info is not None and not _is_refusal(record)


def drop_trace_of_refusal(record: logging.LogRecord) -> bool:
    """Remove the trace from Django's `record` of a refused request: the service itself did not fail."""
    if _is_refusal(record):
        record.exc_info = record.exc_text = None
    return True


def _is_refusal(record: logging.LogRecord) -> bool:
    return 400 <= getattr(record, "status_code", 500) < 500


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the ids, and the record's `fields`.

    A caller adds fields with `extra={"fields": {…}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := request_record.current()) is not None:
            line["request_id"] = request.id
            if request.trace is not None:
                line["trace_id"] = request.trace.trace_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configuration(log_format: str) -> dict[str, Any]:
    """The value of Django's `LOGGING` and gunicorn's `logconfig_dict`; `log_format` is `text` or `json`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "format": "{asctime} {levelname:<7} {message}",
                "datefmt": "%Y-%m-%d %H:%M:%S",
                "style": "{",
            },
            "json": {"()": JSONFormatter},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": log_format,
                # A logger's filter would not see the records of its children, `django.security.…`.
                "filters": [drop_trace_of_refusal],
            }
        },
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Django's own handlers send mail or depend on DEBUG; its records take the same way as all others.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            # The request log already has a line, with the reason, for each refused request.
            "django.request": {"filters": [is_failure]},
            # Its INFO records report its own steps, its warnings failed logins.
            "axes": {"level": "WARNING"},
            # It logs every request to the model hub and to an engine behind this service.
            "httpx2": {"level": "WARNING"},
            # It warns about every failed connection; the requests that need one report it themselves.
            "psycopg.pool": {"level": "ERROR"},
            "gunicorn.error": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            # `llmservice.request_log` takes its place, with more about each request.
            "gunicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }
