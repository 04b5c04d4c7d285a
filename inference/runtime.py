"""The worker's one backend: loaded while the web server already answers, used by the views."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from django.conf import settings

from inference.collector import keep_loaded, paused_collector
from inference.engine.errors import ModelUnavailable, Unavailable

if TYPE_CHECKING:
    from inference.engine.backend import Backend
    from inference.engine.engine import Engine

logger = logging.getLogger(__name__)

LOADING = "The model is loading; try again shortly."


class State(StrEnum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """The state of the backend, and a sentence that says why it does not generate (empty while it does)."""

    state: State
    reason: str = ""


_lock = threading.Lock()
_status = Status(State.LOADING, LOADING)
_backend: "Backend | None" = None
_ending = threading.Event()
"""Set once the process ends, so a load that waits for another process need not wait."""


def check_model() -> None:
    """Check that the model of the settings can be found, and computed here as they ask; takes seconds.

    It needs torch only if they ask for a GPU. An upstream engine may come later than this service.

    Raises:
        ModelUnavailable: with the sentence for the operator.
    """
    if settings.LLM_BACKEND == "upstream":
        return
    # Imported here: a service in front of another engine needs neither what computes nor what fetches models.
    from inference import model_source

    if _depends_on_machine():
        from inference.engine.compute import requirements

        requirements.check(
            device=settings.LLM_DEVICE, dtype=settings.LLM_DTYPE, kv_cache_dtype=settings.LLM_KV_CACHE_DTYPE
        )
    model_source.check(settings.LLM_MODEL)


def _depends_on_machine() -> bool:
    """Whether the settings ask for a device, instructions or kernels that this machine may lack."""
    return (
        settings.LLM_DEVICE == "cuda"
        or settings.LLM_DTYPE not in ("auto", "float32")
        or settings.LLM_KV_CACHE_DTYPE == "int8"
    )


def served_name() -> str:
    """The name of the served model for clients, as far as it is known."""
    if settings.LLM_BACKEND == "upstream":
        ready = _backend
        return settings.LLM_UPSTREAM_MODEL or (ready.model_name if ready is not None else "upstream")
    from inference import model_source

    return model_source.public_name(settings.LLM_MODEL)


def status() -> Status:
    """The state of the backend now."""
    with _lock:
        if _status.state is State.READY and _backend is not None and not _backend.alive:
            return Status(State.DEAD, "The engine has stopped after an internal error; restart the service.")
        return _status


def backend() -> "Backend":
    """The backend, ready to generate.

    Raises:
        Unavailable: it is loading, draining, stopped or dead; the message says which.
    """
    now = status()
    if now.state is not State.READY or _backend is None:
        raise Unavailable(now.reason)
    return _backend


def loaded() -> "Backend | None":
    """The backend in any state, also while it only finishes what it has; None before it is loaded."""
    return _backend


def start(*, on_failure: Callable[[], None] = lambda: None) -> None:
    """Start to load the model, in a thread of its own.

    Args:
        on_failure: called in that thread if the model cannot be served, after the reason has been logged.
    """
    _ending.clear()
    _replace(Status(State.LOADING, LOADING), None)
    load = _connect if settings.LLM_BACKEND == "upstream" else _load
    threading.Thread(target=load, args=(on_failure,), name="load", daemon=True).start()


def install(ready: "Backend") -> None:
    """Make `ready`, which can generate, the backend of this process."""
    _replace(Status(State.READY), ready)


def drain() -> None:
    """Refuse new requests from now on; those already submitted are finished."""
    _ending.set()
    draining = Status(State.DRAINING, "The service is shutting down and accepts no new requests.")
    if not _replace(draining, _backend, only_from=State.READY):
        _replace(draining, None, only_from=State.LOADING)
    if _backend is not None:
        _backend.drain()


def stop() -> None:
    """Stop the backend; unfinished requests fail with `Interrupted`."""
    _ending.set()
    _replace(Status(State.STOPPED, "The service has stopped."), _backend)
    if _backend is not None:
        _backend.stop()


def _connect(on_failure: Callable[[], None]) -> None:
    # Imported here: only this role needs it.
    from inference import upstream

    def tell(reason: str) -> bool:
        if status().reason != reason:
            logger.warning("%s", reason)
        return _replace(Status(State.LOADING, reason), None, only_from=State.LOADING)

    try:
        connected = upstream.connected(tell)
    except Exception as error:
        _fail("The upstream engine could not be asked; the log says why.", on_failure, unexpected=error)
        return
    if connected is not None and not _replace(Status(State.READY), connected, only_from=State.LOADING):
        connected.stop()  # the worker was told to end meanwhile


def _load(on_failure: Callable[[], None]) -> None:
    # Imported here: it may take seconds, and the process can answer meanwhile.
    with paused_collector():
        from inference import model_source
        from inference.engine.config import EngineConfig
        from inference.engine.loader import load_engine

    values = {field: getattr(settings, name) for field, name in settings.ENGINE_SETTINGS.items()}
    config = EngineConfig(**values)
    name = settings.LLM_MODEL
    try:
        loaded = load_engine(
            model_source.fetch(name),
            name=model_source.public_name(name),
            config=config,
            packed_weights=settings.PACKED_WEIGHTS_DIR,
            ending=_ending,
        )
    except ModelUnavailable as error:
        _fail(str(error), on_failure)
    except Exception as error:
        _fail(f"The model {name} could not be loaded; the log says why.", on_failure, unexpected=error)
    else:
        keep_loaded()
        if not _replace(Status(State.READY), loaded, only_from=State.LOADING):
            loaded.stop()  # the worker was told to end meanwhile
            return
        _prepare_grammars(loaded)


def _prepare_grammars(loaded: "Engine") -> None:
    """Have the first request with a schema find what compiles it, which takes seconds to start."""
    try:
        loaded.grammars.start()
    except Unavailable as error:
        logger.warning("The first grammar will have to wait: %s", error)
    if status().state is State.STOPPED:
        loaded.grammars.stop()


def _fail(reason: str, on_failure: Callable[[], None], *, unexpected: Exception | None = None) -> None:
    if not _replace(Status(State.DEAD, reason), None, only_from=State.LOADING):
        return  # the process ends, and took from the loading what it needs
    if unexpected is not None:
        logger.error("Loading the model failed.", exc_info=unexpected)
    logger.critical("%s", reason)
    on_failure()


def _replace(new: Status, backend: "Backend | None", *, only_from: State | None = None) -> bool:
    global _status, _backend
    with _lock:
        if only_from is not None and _status.state is not only_from:
            return False
        _status, _backend = new, backend
        return True
