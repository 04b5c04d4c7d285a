"""Where the model's files are: a folder of this machine, or the Hugging Face hub and its cache.

Torch is not needed here, so that a start that cannot succeed ends at once.
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
    """The error for the model `name`: which one, why, and what to do."""
    return ModelUnavailable(
        f"The model {name} cannot be served: {why}. Set LLM_MODEL to a model's name on the Hugging Face hub "
        "or to its folder; `make run` without LLM_MODEL starts with the quick-start model."
    )


def check(name: str) -> None:
    """Whether the model could be had, without loading or downloading it; it takes 10 seconds at most.

    Raises:
        ModelUnavailable: it is not in the folder, in the cache or on the hub, or its files are not whole.
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

    # In a thread: no timeout of the client's covers a name server that does not answer.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CHECK_TIMEOUT_S)
    error = outcome[0] if outcome else TimeoutError()
    if error is not None:
        raise unavailable(name, _why(error)) from error


def fetch(name: str) -> Path:
    """The folder of the model's files, downloaded to the cache where missing, with progress in the log.

    Raises:
        ModelUnavailable: as `check`, or the download broke off.
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
    """Log how much of the model is in the cache while it is downloaded; `total` bytes will be."""
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
    """The model's folder in the hub's cache, if all is there; ModelUnavailable where it cannot be read."""
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
            return "that is neither a folder nor a model's name"
        case GatedRepoError():
            return "its owner must grant access first (log in with HF_TOKEN)"
        case RepositoryNotFoundError():
            return "there is no such model on the hub, or access needs HF_TOKEN"
        case TimeoutError():
            return f"the Hugging Face hub did not answer within {CHECK_TIMEOUT_S:.0f} s"
        case _:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            return f"it is not in the cache and the Hugging Face hub cannot be reached ({reason})"


def public_name(name: str) -> str:
    """What clients see as the model's name: a folder's own name, not where it lies on this machine."""
    return Path(name).expanduser().resolve().name if _is_folder(name) else name
