"""How a command of `manage.py` becomes the server."""

import os
import sys
from typing import NoReturn

from django.core.management import call_command
from django.db import connections

from llmservice.environment import PREFLIGHT_PASSED

COMMAND = [sys.executable, "-m", "gunicorn", "-c", "llmservice/gunicorn.conf.py"]


def become_server() -> NoReturn:
    """Check that the service can start, and replace this process with gunicorn; it keeps the process id.

    Checking here saves the server a process of its own for it, with a second import of everything.
    """
    call_command("preflight")
    # The server cannot use connections of this process.
    connections.close_all()
    sys.stdout.flush()
    # gunicorn itself reads this variable before its configuration, and does not accept an empty one.
    environ = {
        name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY" or value.strip()
    }
    environ[PREFLIGHT_PASSED] = str(os.getpid())
    os.execve(COMMAND[0], COMMAND, environ)  # noqa: S606
