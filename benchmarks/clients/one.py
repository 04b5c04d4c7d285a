"""Runs the checks of one client: `python -m benchmarks.clients.one CASE ROWS`, with the service on stdin.

ROWS is a file that gets a line of JSON for each check. It is a process of its own because clients configure
logging, event loops and signals for themselves, and not every environment has the packages of all.
"""

import importlib
import json
import sys
import textwrap
import traceback
from pathlib import Path

from benchmarks.clients import cases
from benchmarks.clients.client import Absent, Check, Client, Failed, Served

PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"
SEEN_CHARACTERS = 200
"""Of a failure in the table; all of it is printed."""


def main() -> None:
    case, rows = sys.argv[1:3]
    served = Served.from_json(sys.stdin.read())
    client: Client = importlib.import_module(f"{cases.__name__}.{case}").client
    with Path(rows).open("w") as file:
        for tried, check in client.checks.items():
            row = [client.name, client.version, tried, *result(check, served)]
            print(json.dumps(row), file=file, flush=True)


def result(check: Check, served: Served) -> tuple[str, str]:
    """Whether it works, and what was seen."""
    try:
        return PASSED, check(served) or ""
    except Absent as absent:
        return LEFT_OUT, str(absent)
    except Exception as error:
        traceback.print_exc()
        text = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        return FAILED, textwrap.shorten(text, SEEN_CHARACTERS)


if __name__ == "__main__":
    main()
