"""Finds the files of the model: in a folder, or on the Hugging Face hub and in its cache.

It needs no torch, so that a start without a model fails at once.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from inference import model_files
from inference.engine.errors import ModelUnavailable

CHECK_TIMEOUT_S = 10.0
PROGRESS_EVERY_S = 5.0
WEIGHTS = ("*.safetensors", "*.bin")
_TEXTS = ["*.json", "*.txt", "*.model", "*.jinja"]

logger = logging.getLogger(__name__)


def unavailable(name: str, why: str) -> ModelUnavailable:
    """The error for the model `name`: which model, why, and what to do."""
    return ModelUnavailable(
        f"The model {name} cannot be served: {why}. Set LLM_MODEL to the name of a model on the Hugging Face "
        "hub or to a model folder; `make run` without LLM_MODEL serves the quick-start model."
    )


def check(name: str) -> None:
    """Check that the model can be found, without loading or downloading it; takes at most 10 seconds.

    Raises:
        ModelUnavailable: neither folder, cache nor hub have the model, or its files are not complete.
    """
    if _is_folder(name):
        _check_folder(name, Path(name).expanduser())
        return
    if _cached(name) is not None:
        return
    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            HfApi().model_info(name, timeout=CHECK_TIMEOUT_S / 2)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    # In a thread, because the client's timeout does not cover a name server that does not answer.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CHECK_TIMEOUT_S)
    error = outcome[0] if outcome else TimeoutError()
    if error is not None:
        raise unavailable(name, _why(error)) from error


def fetch(name: str) -> Path:
    """The folder with the model's files. Downloads them to the cache if needed, with progress in the log.

    Raises:
        ModelUnavailable: as for `check`, or the download failed.
    """
    if _is_folder(name):
        folder = Path(name).expanduser()
        _check_folder(name, folder)
        return folder
    cached = _cached(name)
    if cached is not None:
        return cached
    try:
        siblings = HfApi().model_info(name, files_metadata=True).siblings or []
        sizes = {Path(s.rfilename): s.size or 0 for s in siblings if "/" not in s.rfilename}
        weights = next((kind for kind in WEIGHTS if any(file.match(kind) for file in sizes)), WEIGHTS[0])
        wanted = [weights, *_TEXTS]
        total = sum(size for file, size in sizes.items() if any(file.match(kind) for kind in wanted))
        with _progress(name, total):
            folder = Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:
        raise unavailable(name, _why(error)) from error
    _check_folder(name, folder)
    return folder


@contextmanager
def _progress(name: str, total: int) -> Iterator[None]:
    """Log how many of the `total` bytes are in the cache during a download."""
    blobs = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"

    def tell() -> None:
        while not done.wait(PROGRESS_EVERY_S):
            there = sum(file.stat().st_size for file in blobs.glob("*") if file.exists())
            logger.info("Downloading %s: %.0f of %.0f MB ...", name, there / 1e6, total / 1e6)

    done = threading.Event()
    logger.info("Downloading %s (%.0f MB) to %s ...", name, total / 1e6, blobs.parent)
    threading.Thread(target=tell, name="progress", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _is_folder(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or Path(name).is_dir()


def _check_folder(name: str, folder: Path) -> None:
    try:
        model_files.check(folder)
    except model_files.ModelFilesError as error:
        raise unavailable(name, str(error)) from error


def _cached(name: str) -> Path | None:
    """The model's folder in the cache, None if incomplete; ModelUnavailable if it is damaged."""
    try:
        folder = Path(snapshot_download(name, local_files_only=True))
        model_files.check(folder)
    except (LocalEntryNotFoundError, HFValidationError, model_files.Incomplete, ValueError):
        return None
    except model_files.ModelFilesError as error:
        raise unavailable(name, str(error)) from error
    return folder


def _why(error: Exception) -> str:
    match error:
        case HFValidationError():
            return "it is neither a folder nor the name of a model"
        case GatedRepoError():
            return "its owner must grant you access (then set HF_TOKEN)"
        case RepositoryNotFoundError():
            return "the hub has no such model, or access requires HF_TOKEN"
        case TimeoutError():
            return f"the Hugging Face hub did not answer within {CHECK_TIMEOUT_S:.0f} s"
        case _:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            return f"it is not in the cache and the Hugging Face hub cannot be reached ({reason})"


def public_name(name: str) -> str:
    """The model's name for clients: of a folder only its own name, not its path."""
    return Path(name).expanduser().resolve().name if _is_folder(name) else name
