#!/usr/bin/env python
"""Django's command line for this project."""

import gc
import os
import sys


def main() -> None:
    # A command is over before it has made much garbage: with Python's own 700, a sixth of its time would go
    # into collections that find nothing but what has been imported.
    gc.set_threshold(50_000)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmservice.settings")
    from llmservice.start_signals import end_on_signals

    end_on_signals()
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import InterfaceError, OperationalError, ProgrammingError

    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except ImproperlyConfigured as error:
        # A mistake in the settings: the sentence suffices, a trace would only hide it.
        sys.exit(str(error))
    except (InterfaceError, OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv:
            raise
        from llmservice.database import explain

        sys.exit(explain(error))
    except BrokenPipeError:
        # Whoever read the output has read enough, as `head` does. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
