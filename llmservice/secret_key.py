"""Django's secret key, created at the first start and stored in a file that only its owner can read."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def load_or_create_secret_key(path: Path) -> str:
    """The key in the file `path`, which is created with mode 600 if it does not exist.

    Processes that start at the same time get the same key: each writes a complete file of its own and then
    links it to `path`, which only one of them can do.

    Raises:
        ImproperlyConfigured: the file cannot be created or read, or it is empty.
    """
    try:
        if not path.exists():
            _create(path)
        key = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The secret key cannot be stored in {path} ({error.strerror}): set SECRET_KEY, or set VAR_DIR "
            "to a folder that this user can write to."
        ) from error
    if not key:
        raise ImproperlyConfigured(
            f"The file of the secret key, {path}, is empty: delete it to create a new key, or set SECRET_KEY."
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
        # If another process was faster, its key is used.
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
    finally:
        Path(own).unlink()
