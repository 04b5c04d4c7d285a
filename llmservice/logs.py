"""How the service logs, on stderr: lines for people or JSON for programs, for Django and gunicorn alike."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from llmservice import request_record


def has_trace(record: logging.LogRecord) -> bool:
    """Whether an error that nobody expected is behind `record`."""
    return record.exc_info is not None


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
        # The service has its own line for each refused request; Django's adds nothing but a trace to it.
        "filters": {"has_trace": {"()": "django.utils.log.CallbackFilter", "callback": has_trace}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": log_format}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Django's own handlers mail and look at DEBUG: its records go the way of all others.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"filters": ["has_trace"]},
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
