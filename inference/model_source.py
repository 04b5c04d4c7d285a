"""Finds the files of the model: in a folder, or on the Hugging Face hub and in its cache.

It needs no torch, so that a start without a model fails at once. The client of the hub is imported only for
a model that is not a folder: half of what a check of a folder takes.
"""

from pathlib import Path

from inference import model_files
from inference.engine.errors import ModelUnavailable


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
    from inference import model_hub

    if _cached(name) is None:
        try:
            model_hub.check(name)
        except model_hub.NotOnHub as reason:
            raise unavailable(name, str(reason)) from reason


def fetch(name: str) -> Path:
    """The folder with the model's files. Downloads them to the cache if needed, with progress in the log.

    Raises:
        ModelUnavailable: as for `check`, or the download failed.
    """
    if _is_folder(name):
        folder = Path(name).expanduser()
        _check_folder(name, folder)
        return folder
    from inference import model_hub

    cached = _cached(name)
    if cached is not None:
        return cached
    try:
        folder = model_hub.download(name)
    except model_hub.NotOnHub as reason:
        raise unavailable(name, str(reason)) from reason
    _check_folder(name, folder)
    return folder


def public_name(name: str) -> str:
    """The model's name for clients: of a folder only its own name, not its path."""
    return Path(name).expanduser().resolve().name if _is_folder(name) else name


def _is_folder(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or Path(name).is_dir()


def _check_folder(name: str, folder: Path) -> None:
    try:
        model_files.check(folder)
    except model_files.ModelFilesError as error:
        raise unavailable(name, str(error)) from error


def _cached(name: str) -> Path | None:
    """The model's folder in the cache, None if incomplete; ModelUnavailable if it is damaged."""
    from inference import model_hub

    folder = model_hub.cached(name)
    if folder is None:
        return None
    try:
        model_files.check(folder)
    except (model_files.Incomplete, ValueError):
        return None
    except model_files.ModelFilesError as error:
        raise unavailable(name, str(error)) from error
    return folder
