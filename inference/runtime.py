"""The worker's one engine: loaded beside the web server's threads, used by the views."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from django.conf import settings

from inference import model_source
from inference.engine.errors import ModelUnavailable, Unavailable

if TYPE_CHECKING:
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
    """Where the engine stands, and why it does not generate, in a sentence (empty while it does)."""

    state: State
    reason: str = ""


_lock = threading.Lock()
_status = Status(State.LOADING, LOADING)
_engine: "Engine | None" = None


def check_model() -> None:
    """Whether the model of the settings could be had, and its device; takes seconds.

    Needs no torch but where the settings ask for CUDA.

    Raises:
        ModelUnavailable: with the sentence for the operator.
    """
    if settings.LLM_DEVICE == "cuda":
        from inference.engine.compute.path import choose_path

        choose_path(device=settings.LLM_DEVICE, quantization=settings.LLM_QUANTIZATION)
    model_source.check(settings.LLM_MODEL)


def status() -> Status:
    """Where the engine stands now."""
    with _lock:
        if _status.state is State.READY and _engine is not None and not _engine.alive:
            return Status(State.DEAD, "The engine has stopped after an internal error; restart the service.")
        return _status


def engine() -> "Engine":
    """The engine, ready to generate.

    Raises:
        Unavailable: it loads, drains, has stopped or is dead; the message says which.
    """
    now = status()
    if now.state is not State.READY or _engine is None:
        raise Unavailable(now.reason)
    return _engine


def start(*, on_failure: Callable[[], None] = lambda: None) -> None:
    """Begin to load the engine, in a thread of its own.

    Args:
        on_failure: called in that thread when the model cannot be served, after the reason is in the log.
    """
    _replace(Status(State.LOADING, LOADING), None)
    threading.Thread(target=_load, args=(on_failure,), name="load", daemon=True).start()


def install(ready: "Engine") -> None:
    """Make `ready`, an engine that runs, the one of this process."""
    _replace(Status(State.READY), ready)


def drain() -> None:
    """Refuse new requests from now on; those that are in go on."""
    draining = Status(State.DRAINING, "The service is shutting down and takes no more requests.")
    if not _replace(draining, _engine, only_from=State.READY):
        _replace(draining, None, only_from=State.LOADING)
    if _engine is not None:
        _engine.drain()


def stop() -> None:
    """End the engine; what still runs fails with `Unavailable`."""
    _replace(Status(State.STOPPED, "The service has stopped."), _engine)
    if _engine is not None:
        _engine.stop()


def _load(on_failure: Callable[[], None]) -> None:
    # Imported here: torch takes seconds, and the process can answer meanwhile.
    from inference.engine.config import EngineConfig
    from inference.engine.loader import load_engine

    values = {field: getattr(settings, name) for field, name in settings.ENGINE_SETTINGS.items()}
    config = EngineConfig(**values)
    name = settings.LLM_MODEL
    try:
        loaded = load_engine(model_source.fetch(name), name=model_source.public_name(name), config=config)
    except ModelUnavailable as error:
        _fail(str(error), on_failure)
    except Exception:
        logger.exception("Loading the model failed.")
        _fail(f"The model {name} could not be loaded; the log says why.", on_failure)
    else:
        if not _replace(Status(State.READY), loaded, only_from=State.LOADING):
            loaded.stop()  # the worker was told to end meanwhile


def _fail(reason: str, on_failure: Callable[[], None]) -> None:
    logger.critical("%s", reason)
    _replace(Status(State.DEAD, reason), None)
    on_failure()


def _replace(new: Status, new_engine: "Engine | None", *, only_from: State | None = None) -> bool:
    global _status, _engine
    with _lock:
        if only_from is not None and _status.state is not only_from:
            return False
        _status, _engine = new, new_engine
        return True
