"""The events of a streamed response."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from rest_framework.request import Request

from inference.api import stream
from inference.api.openai.errors import exception_handler
from inference.api.openai.responses.answer import Answer
from inference.api.openai.responses.output import Output
from inference.api.stream import EventStream
from inference.engine.generation import Event
from inference.metering import Metered


class ResponseEvents:
    """Announces a response, then the items of its output.

    Each event has the next number. The last one has the whole response.
    """

    def __init__(self, answer: Answer, output: Output, metered: Metered) -> None:
        self._answer = answer
        self._output = output
        self._metered = metered
        self._numbers = count()

    def stream(self, request: Request) -> EventStream:
        return EventStream(
            request,
            self._metered,
            opening=self._opening,
            pieces=self._pieces,
            last=self._last,
            handler=exception_handler,
            error_event=self._failure,
        )

    def _opening(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._answer.begun())
        yield self._event("response.in_progress", response=self._answer.begun())

    def _pieces(self, _: int, event: Event) -> Iterator[bytes]:
        for name, data in self._output.changes(event):
            yield self._event(name, **data)

    def _last(self) -> Iterator[bytes]:
        response = self._answer.ended(self._output, self._metered)
        yield self._event(f"response.{response['status']}", response=response)

    def _failure(self, body: bytes) -> bytes:
        message = json.loads(body)["error"]["message"]
        return self._event("response.failed", response=self._answer.failed(message))

    def _event(self, name: str, /, **data: Any) -> bytes:
        return stream.event(name, {"type": name, "sequence_number": next(self._numbers), **data})
