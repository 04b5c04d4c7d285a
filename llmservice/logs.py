"""How the service logs: one readable line each on stderr, the same for Django and for gunicorn."""

import logging
from typing import Any


def has_trace(record: logging.LogRecord) -> bool:
    """Whether an error that nobody expected is behind `record`."""
    return record.exc_info is not None


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime} {levelname:<7} {message}",
            "datefmt": "%Y-%m-%d %H:%M:%S",
            "style": "{",
        }
    },
    # The access log has a line for each refused request; Django's own adds nothing but a trace to it.
    "filters": {"has_trace": {"()": "django.utils.log.CallbackFilter", "callback": has_trace}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # Django's own handlers mail and look at DEBUG: its records go the way of all others.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"filters": ["has_trace"]},
        # It tells of its start and of each step that it takes; what it warns of are failed logins.
        "axes": {"level": "WARNING"},
        # It tells of every request to the model hub.
        "httpx": {"level": "WARNING"},
        "gunicorn.error": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "gunicorn.access": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
