"""The parts that all answers of `/v1` share, whole and streamed."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from inference.api.disconnect import results_for
from inference.api.openai.errors import exception_handler
from inference.api.stream import EventStream
from inference.engine.backend import Backend
from inference.engine.generation import Completion, Event
from inference.metering import Metered

DONE = b"data: [DONE]\n\n"

Choice = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What stands around the choices.

    Attributes:
        kind: the `object` of the answer.
        chunk_kind: that of each chunk of a stream.
    """

    kind: str
    chunk_kind: str
    id_prefix: str
    backend: Backend
    created: int = field(default_factory=lambda: int(time.time()))
    number: str = field(default_factory=lambda: uuid.uuid4().hex)

    def whole(self, choices: list[Choice], **more: Any) -> dict[str, Any]:
        return self._around(self.kind, choices, more)

    def chunk(self, choices: list[Choice], **more: Any) -> bytes:
        content = self._around(self.chunk_kind, choices, more)
        return b"data: %s\n\n" % json.dumps(content).encode()

    def _around(self, kind: str, choices: list[Choice], more: Mapping[str, Any]) -> dict[str, Any]:
        fingerprint = self.backend.fingerprint
        return {
            "id": f"{self.id_prefix}-{self.number}",
            "object": kind,
            "created": self.created,
            "model": self.backend.model_name,
            # OpenAI's document lets it be absent, not null.
            **({} if fingerprint is None else {"system_fingerprint": fingerprint}),
            "choices": choices,
            **more,
        }


class Texts(Protocol):
    """The choices of one request, in the form of its endpoint."""

    def choice(self, index: int, completion: Completion) -> Choice:
        """A text that is complete."""
        ...

    def chunks(self, index: int, event: Event) -> Iterable[Choice]:
        """What an event adds to a text."""
        ...


def usage(metered: Metered, *, completion_tokens: int | None = None) -> dict[str, Any]:
    """What a client is told of its tokens so far, or once it has received this many generated ones."""
    told = metered.usage if completion_tokens is None else metered.usage_after(completion_tokens)
    return {**told, "prompt_tokens_details": {"cached_tokens": metered.cached_tokens}}


def respond(
    request: Request, fields: Mapping[str, Any], metered: Metered, envelope: Envelope, texts: Texts
) -> HttpResponseBase:
    """Answer the admitted request, with a stream if its fields ask for one."""
    if fields["stream"]:
        return _streamed(request, metered, envelope, texts, fields["stream_options"] or {})
    with metered:
        completions = results_for(request, metered.generations)
    choices = [texts.choice(index, completion) for index, completion in enumerate(completions)]
    return Response(envelope.whole(choices, usage=usage(metered)))


def _streamed(
    request: Request, metered: Metered, envelope: Envelope, texts: Texts, options: Mapping[str, Any]
) -> HttpResponseBase:
    include_usage = bool(options.get("include_usage"))
    with_each = bool(options.get("continuous_usage_stats"))
    more: dict[str, Any] = {"usage": None} if include_usage else {}
    sent = 0

    def pieces(index: int, event: Event) -> Iterator[bytes]:
        nonlocal sent
        sent += event.tokens
        if with_each:
            more["usage"] = usage(metered, completion_tokens=sent)
        for choice in texts.chunks(index, event):
            yield envelope.chunk([choice], **more)

    def last() -> Iterator[bytes]:
        if include_usage:
            yield envelope.chunk([], usage=usage(metered))
        yield DONE

    stream = EventStream(
        request,
        metered,
        pieces=pieces,
        last=last,
        handler=exception_handler,
        error_event=b"data: %s\n\n".__mod__,
    )
    return stream.response()
