"""Refused requests that are not in the database yet, in a file that outlives the process (`owned_file`).

A file belongs to one batch: what is written to the database in one transaction, with the file's name. So
whoever finds the file learns whether its requests have been counted.
"""

import json
import os
from collections import Counter
from datetime import date
from pathlib import Path
from typing import NamedTuple

from accounts.limits import owned_file
from accounts.limits.owned_file import OwnedFile
from accounts.models import Outcome

SUFFIX = ".tally"


class Counted(NamedTuple):
    """What a refused request counts towards."""

    key_id: int
    day: date
    endpoint: str
    outcome: Outcome


def create(folder: Path) -> OwnedFile:
    """A file for a further batch. Raises OSError."""
    return owned_file.create(folder, SUFFIX)


def add(file: OwnedFile, one: Counted) -> None:
    """Write one request. It outlives the process, but not the machine, as nobody waits for the disk.

    Raises OSError.
    """
    # A line begins with its newline, so that half a line does not spoil the next one.
    line = ("\n" + json.dumps([one.key_id, one.day.isoformat(), one.endpoint, one.outcome.value])).encode()
    if os.write(file.descriptor, line) != len(line):
        raise OSError("The disk took only a part of the line.")


def read(file: OwnedFile) -> Counter[Counted]:
    """How often what is in the file. Raises OSError."""
    counts: Counter[Counted] = Counter()
    for line in file.text.splitlines():
        try:
            key_id, day, endpoint, outcome = json.loads(line)
            counts[Counted(int(key_id), date.fromisoformat(day), str(endpoint), Outcome(outcome))] += 1
        except (ValueError, TypeError):
            continue  # Empty, or the process was killed while it wrote: the request was not answered.
    return counts
