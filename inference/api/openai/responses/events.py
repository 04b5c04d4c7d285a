"""The events of a streamed response."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from rest_framework.request import Request

from inference.api import stream
from inference.api.openai.errors import exception_handler
from inference.api.openai.responses.answer import Answer
from inference.api.stream import EventStream
from inference.engine.generation import Event
from inference.metering import Metered


class ResponseEvents:
    """Announces a response, then its message and that one's part; closes them in the reverse order.

    Each event has the next number. The last one has the whole response.
    """

    def __init__(self, answer: Answer, metered: Metered) -> None:
        self._answer = answer
        self._metered = metered
        self._numbers = count()
        self._logprobs = answer.logprobs()
        self._begun = False

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
        if not self._begun:
            self._begun = True
            yield self._of_item("response.output_item.added", item=self._answer.item("in_progress", []))
            yield self._of_part("response.content_part.added", part=self._answer.part("", []))
        logprobs = self._logprobs.of(event)["content"]
        if event.text or logprobs:
            yield self._of_part(
                "response.output_text.delta",
                delta=event.text,
                logprobs=logprobs,
            )

    def _last(self) -> Iterator[bytes]:
        [generation] = self._metered.generations
        response = self._answer.ended(generation.result(), self._metered.usage)
        [item] = response["output"]
        [part] = item["content"]
        yield self._of_part("response.output_text.done", text=part["text"], logprobs=part["logprobs"])
        yield self._of_part("response.content_part.done", part=part)
        yield self._of_item("response.output_item.done", item=item)
        yield self._event(f"response.{response['status']}", response=response)

    def _failure(self, body: bytes) -> bytes:
        message = json.loads(body)["error"]["message"]
        return self._event("response.failed", response=self._answer.failed(message))

    def _of_part(self, name: str, **data: Any) -> bytes:
        return self._event(name, item_id=self._answer.item_id, output_index=0, content_index=0, **data)

    def _of_item(self, name: str, **data: Any) -> bytes:
        return self._event(name, output_index=0, **data)

    def _event(self, name: str, **data: Any) -> bytes:
        return stream.event(name, {"type": name, "sequence_number": next(self._numbers), **data})
