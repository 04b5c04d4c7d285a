"""Django's secret key, made at the first start and kept in a file that only its owner can read."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def load_or_create_secret_key(path: Path) -> str:
    """The key in the file `path`; made where there is none, mode 600.

    Processes that start at once get the same key: each writes a file of its own whole and then links it to
    `path`, which only one can do. Raises ImproperlyConfigured where the file cannot be had.
    """
    try:
        if not path.exists():
            _create(path)
        key = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The secret key cannot be kept in {path} ({error.strerror}): set SECRET_KEY, or VAR_DIR to a "
            "folder that can be written."
        ) from error
    if not key:
        raise ImproperlyConfigured(
            f"{path} is empty: set SECRET_KEY, or delete the file to have a new key made."
        )
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, own = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Where another process was first, its key counts.
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
    finally:
        Path(own).unlink()
