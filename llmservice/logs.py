"""How the service logs, on stderr: lines for people or JSON for programs, for Django and gunicorn alike."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from llmservice.http import request_record


def is_failure(record: logging.LogRecord) -> bool:
    """Whether Django's `record` is of an error that nobody expected, and not of a request that it refused."""
    return record.exc_info is not None and not _is_refusal(record)


def without_refusals_trace(record: logging.LogRecord) -> bool:
    """Takes the trace off Django's `record` of a request that it refused; nothing of the service failed."""
    if _is_refusal(record):
        record.exc_info = record.exc_text = None
    return True


def _is_refusal(record: logging.LogRecord) -> bool:
    return 400 <= getattr(record, "status_code", 500) < 500


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, the request that it is about, and `fields`.

    `fields` are given as `extra={"fields": {…}}`.
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
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configuration(log_format: str) -> dict[str, Any]:
    """Django's `LOGGING`, and gunicorn's `logconfig_dict`; `log_format` is `text` or `json`."""
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
                # Not a logger's: that would not see what the loggers below it, `django.security.…`, say.
                "filters": [without_refusals_trace],
            }
        },
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Django's own handlers mail and look at DEBUG: its records go the way of all others.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            # The service has its own line for each refused request, and the reason in it.
            "django.request": {"filters": [is_failure]},
            # It tells of its start and of each step that it takes; what it warns of are failed logins.
            "axes": {"level": "WARNING"},
            # It tells of every request to the model hub.
            "httpx": {"level": "WARNING"},
            # It tells of every connection that it opens and fails to; the requests that miss one say so.
            "psycopg.pool": {"level": "ERROR"},
            "gunicorn.error": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            # `llmservice.request_log` knows more of a request than gunicorn does.
            "gunicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }
