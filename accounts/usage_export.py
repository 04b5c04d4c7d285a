"""Usage as CSV (RFC 4180), safe to open in a spreadsheet."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from accounts.models import DailyUsage, Outcome

COLUMNS = (
    "day",
    "key_id",
    "key",
    "owner",
    *(outcome.value for outcome in Outcome),
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
)
# What a spreadsheet may take for the start of a formula (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


class _Line:
    """A file to `csv.writer`, which hands over each line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def csv_lines(usage: Iterable[DailyUsage]) -> Iterator[str]:
    """The lines of the CSV, one for each key and day, made as they are asked for."""
    writer: Any = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    for used in usage:
        key = used.key
        yield writer.writerow(
            (
                used.day.isoformat(),
                key.pk,
                as_text(key.name),
                as_text(key.owner),
                *(getattr(used, outcome.value) for outcome in Outcome),
                used.prompt_tokens,
                used.completion_tokens,
                used.tokens,
            )
        )


def as_text(cell: str) -> str:
    """The cell, with an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
