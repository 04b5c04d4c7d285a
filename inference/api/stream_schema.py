"""How the OpenAPI document describes a stream of server-sent events: the events, and what they contain."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from inference.api import stream

Content = type[serializers.Serializer[Any]]


class EventsSerializer(serializers.Serializer[Any]):
    """One event of a stream. Its data is JSON in one line.

    Attributes:
        named: what the data of an event contains, by the event's name.
        unnamed: what the data contains, one of these, where the events of the stream have no names.
        ends_with: the data of the last event, if that is not JSON.
    """

    named: Mapping[str, Content] = {}
    unnamed: Sequence[Content] = ()
    ends_with: str | None = None


class EventsSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    target_class = EventsSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        def json_of(*contents: Content) -> dict[str, Any]:
            refs = [auto_schema.resolve_serializer(content, direction).ref for content in contents]
            content = refs[0] if len(refs) == 1 else {"anyOf": refs}
            return {"type": "string", "contentMediaType": "application/json", "contentSchema": content}

        description = inspect.cleandoc(type(self.target).__doc__ or "")
        if self.target.named:
            kinds = [
                _event({"event": {"const": name}, "data": json_of(content)})
                for name, content in self.target.named.items()
            ]
            return {"oneOf": kinds, "description": description}
        data = json_of(*self.target.unnamed)
        if self.target.ends_with is not None:
            data = {"anyOf": [data, {"const": self.target.ends_with}]}
        return {**_event({"data": data}), "description": description}


def _event(properties: dict[str, Any]) -> dict[str, Any]:
    described = {"event": "The name of the event.", "data": "What it contains, as JSON in one line."}
    return {
        "type": "object",
        "properties": {name: {**value, "description": described[name]} for name, value in properties.items()},
        "required": list(properties),
    }


def events(
    serializer: type[EventsSerializer], *, description: str, example: bytes
) -> dict[tuple[int, str], OpenApiResponse]:
    """The entry of `extend_schema`'s `responses` for a stream; `example` is one as it is sent."""
    shown = OpenApiExample("Events", example.decode(), media_type=stream.CONTENT_TYPE)
    return {
        (200, stream.CONTENT_TYPE): OpenApiResponse(serializer, description=description, examples=[shown])
    }
