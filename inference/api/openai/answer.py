"""The parts that all answers of `/v1` share, whole and streamed."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from inference.api.disconnect import result_for
from inference.api.openai.errors import error_object
from inference.api.stream import EventStream
from inference.engine.backend import Backend
from inference.engine.request import Completion, Event
from inference.metering import Metered
from llmservice.http import problems

DONE = b"data: [DONE]\n\n"

Choice = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What stands around the choices.

    Attributes:
        kind: the `object` of the answer, or of each chunk of a stream.
    """

    kind: str
    id_prefix: str
    backend: Backend
    created: int = field(default_factory=lambda: int(time.time()))
    number: str = field(default_factory=lambda: uuid.uuid4().hex)

    def of(self, choices: list[Choice], **more: Any) -> dict[str, Any]:
        return {
            "id": f"{self.id_prefix}-{self.number}",
            "object": self.kind,
            "created": self.created,
            "model": self.backend.model_name,
            "system_fingerprint": self.backend.fingerprint,
            "choices": choices,
            **more,
        }


def whole(
    request: Request, metered: Metered, envelope: Envelope, choice: Callable[[int, Completion], Choice]
) -> Response:
    """Wait for all texts, and answer with a choice for each."""
    with metered:
        completions = [result_for(request, generation) for generation in metered.generations]
    choices = [choice(index, completion) for index, completion in enumerate(completions)]
    return Response(envelope.of(choices, usage=usage(metered)))


def streamed(
    request: Request,
    metered: Metered,
    envelope: Envelope,
    chunks: Callable[[int, Event], Iterable[Choice]],
    *,
    include_usage: bool,
) -> StreamingHttpResponse:
    """Answer with a chunk for each choice that `chunks` makes of an event."""
    more = {"usage": None} if include_usage else {}

    def pieces(index: int, event: Event) -> Iterator[bytes]:
        for choice in chunks(index, event):
            yield _data(envelope.of([choice], **more))

    def last() -> Iterator[bytes]:
        if include_usage:
            yield _data(envelope.of([], usage=usage(metered)))
        yield DONE

    return EventStream(request, metered, pieces=pieces, last=last, failure=_failure).response()


def usage(metered: Metered) -> dict[str, int]:
    """The tokens of all texts; each prompt counts once."""
    return {
        "prompt_tokens": metered.prompt_tokens,
        "completion_tokens": metered.completion_tokens,
        "total_tokens": metered.prompt_tokens + metered.completion_tokens,
    }


def _failure(error: Exception, _: bytes) -> bytes:
    problem = problems.problem_for(error)
    return _data(error_object(error, problem))


def _data(content: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(content).encode()
