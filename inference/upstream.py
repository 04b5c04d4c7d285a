"""The upstream backend of the settings."""

import hashlib
import threading
from collections.abc import Callable

from django.conf import settings

from inference.engine.errors import EngineError
from inference.engine.upstream.backend import UpstreamBackend
from inference.engine.upstream.config import UpstreamConfig
from llmservice.http import request_record

_ASK_EVERY_S = 1.0


def configured() -> UpstreamConfig:
    """Where the engine of the settings is, and how it is used."""
    return UpstreamConfig(
        url=settings.LLM_UPSTREAM_URL,
        api_key=settings.LLM_UPSTREAM_API_KEY,
        model=settings.LLM_UPSTREAM_MODEL,
        engine=settings.LLM_UPSTREAM_ENGINE,
        context_length=settings.LLM_UPSTREAM_CONTEXT,
        max_running=settings.LLM_MAX_RUNNING,
        max_queued=settings.LLM_MAX_QUEUED,
        connect_s=settings.LLM_UPSTREAM_CONNECT_S,
        first_byte_s=settings.LLM_UPSTREAM_FIRST_BYTE_S,
        silence_s=settings.LLM_UPSTREAM_SILENCE_S,
        salt_key=hashlib.sha256(b"llmservice.cache_salt" + settings.API_KEY_PEPPER.encode()).digest(),
    )


def connected(tell: Callable[[str], bool]) -> UpstreamBackend | None:
    """The backend, as soon as its engine has told what it serves.

    Args:
        tell: takes the reason each time that the engine does not tell; returns whether to ask again.
    """
    backend = UpstreamBackend(configured(), headers=_headers)
    backend.start()
    pause = threading.Event()
    while True:
        try:
            backend.connect()
        except EngineError as error:
            if not tell(str(error)):
                backend.stop()
                return None
            pause.wait(_ASK_EVERY_S)
        else:
            return backend


def _headers() -> dict[str, str]:
    """The ids of the request and of its trace travel on, so that the logs of both services can be joined."""
    record = request_record.current()
    if record is None:
        return {}
    return {"X-Request-ID": record.id} | ({} if record.trace is None else record.trace.headers())
