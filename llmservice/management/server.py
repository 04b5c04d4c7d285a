"""How a command of `manage.py` becomes the server."""

import os
import sys
from typing import NoReturn

from django.db import connections

COMMAND = [sys.executable, "-m", "gunicorn", "-c", "llmservice/gunicorn.conf.py"]


def become_server() -> NoReturn:
    """Go on as gunicorn, with the same process id."""
    # Connections do not outlive this process.
    connections.close_all()
    sys.stdout.flush()
    # gunicorn reads this one itself, before its configuration, and fails where it is set to nothing.
    environ = {
        name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY" or value.strip()
    }
    os.execve(COMMAND[0], COMMAND, environ)  # noqa: S606
