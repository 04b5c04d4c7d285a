"""Server-sent events as a client reads them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerSentEvent:
    name: str
    data: Any


def parse(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """The events of a stream's lines; comments are skipped."""
    name, data = "message", ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data += line.removeprefix("data: ")
        elif not line and data:
            yield ServerSentEvent(name, json.loads(data))
            name, data = "message", ""


def pieces(events: Iterable[ServerSentEvent]) -> str:
    """The text of the `text` events together."""
    return "".join(event.data["text"] for event in events if event.name == "text")
