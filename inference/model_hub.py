"""The Hugging Face hub and its cache."""

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

CHECK_TIMEOUT_S = 10.0
PROGRESS_EVERY_S = 5.0
WEIGHTS = ("*.safetensors", "*.bin")
_TEXTS = ["*.json", "*.txt", "*.model", "*.jinja"]

logger = logging.getLogger(__name__)


class NotOnHub(Exception):
    """Why the hub does not give a model; the text is a clause that follows a colon."""


def cached(name: str) -> Path | None:
    """The model's folder in the cache; None if it is not there."""
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, ValueError):
        return None


def check(name: str) -> None:
    """Ask the hub whether it has the model; takes at most 10 seconds.

    Raises:
        NotOnHub: it has not, or does not answer.
    """
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
        raise NotOnHub(_why(error)) from error


def download(name: str) -> Path:
    """Download the model to the cache, with progress in the log; returns its folder there.

    Raises:
        NotOnHub: the hub does not have the model, or the download failed.
    """
    try:
        siblings = HfApi().model_info(name, files_metadata=True).siblings or []
        sizes = {Path(s.rfilename): s.size or 0 for s in siblings if "/" not in s.rfilename}
        weights = next((kind for kind in WEIGHTS if any(file.match(kind) for file in sizes)), WEIGHTS[0])
        wanted = [weights, *_TEXTS]
        total = sum(size for file, size in sizes.items() if any(file.match(kind) for kind in wanted))
        with _progress(name, total):
            return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:
        raise NotOnHub(_why(error)) from error


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
