"""How a command of `manage.py` becomes the server."""

import os
import sys
from typing import NoReturn

from django.db import connections

COMMAND = [sys.executable, "-m", "gunicorn", "-c", "llmservice/gunicorn.conf.py"]


def become_server() -> NoReturn:
    """Replace this process with gunicorn; the process id stays the same."""
    # The server cannot use connections of this process.
    connections.close_all()
    sys.stdout.flush()
    # gunicorn itself reads this variable before its configuration, and does not accept an empty one.
    environ = {
        name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY" or value.strip()
    }
    os.execve(COMMAND[0], COMMAND, environ)  # noqa: S606
