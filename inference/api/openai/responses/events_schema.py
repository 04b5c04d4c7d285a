"""The events of a streamed response in the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from rest_framework import serializers

from inference.api import stream
from inference.api.openai.chat_schema import TokenLogprobSerializer
from inference.api.openai.responses.schema import (
    RESPONSE,
    OutputItemField,
    ResponsePartSerializer,
    ResponseSerializer,
)
from inference.api.stream_schema import EventsSerializer


def _example() -> Iterator[bytes]:
    [item] = RESPONSE["output"]
    [part] = item["content"]
    of_item = {"output_index": 0}
    of_part = {"item_id": item["id"], **of_item, "content_index": 0}
    begun = {**RESPONSE, "status": "in_progress", "completed_at": None, "output": []}
    del begun["usage"]
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", {**of_item, "item": {**item, "status": "in_progress", "content": []}}),
        ("response.content_part.added", {**of_part, "part": {**part, "text": ""}}),
        ("response.output_text.delta", {**of_part, "delta": part["text"], "logprobs": []}),
        ("response.output_text.done", {**of_part, "text": part["text"], "logprobs": []}),
        ("response.content_part.done", {**of_part, "part": part}),
        ("response.output_item.done", {**of_item, "item": item}),
        ("response.completed", {"response": RESPONSE}),
    ]
    for number, (name, data) in enumerate(events):
        yield stream.event(name, {"type": name, "sequence_number": number, **data})


STREAM = b"".join(_example())


class ResponseEventSerializer(serializers.Serializer[Any]):
    """The response as it is now."""

    type = serializers.CharField(help_text="The name of the event.")
    sequence_number = serializers.IntegerField(min_value=0, help_text="The number of the event, from 0.")
    response = ResponseSerializer(help_text="The response.")


class ResponseItemEventSerializer(serializers.Serializer[Any]):
    """An item of the output begins or is complete."""

    type = serializers.CharField(help_text="The name of the event.")
    sequence_number = serializers.IntegerField(min_value=0, help_text="The number of the event, from 0.")
    output_index = serializers.IntegerField(min_value=0, help_text="The place of the item in `output`.")
    item = OutputItemField(help_text="The item.")


class OfItemSerializer(serializers.Serializer[Any]):
    """The item that an event is about."""

    type = serializers.CharField(help_text="The name of the event.")
    sequence_number = serializers.IntegerField(min_value=0, help_text="The number of the event, from 0.")
    item_id = serializers.CharField(help_text="The id of the item.")
    output_index = serializers.IntegerField(min_value=0, help_text="The place of the item in `output`.")


class OfPartSerializer(OfItemSerializer):
    """The part of an item that an event is about."""

    content_index = serializers.IntegerField(min_value=0, help_text="The place of the part in `content`.")


class ResponsePartEventSerializer(OfPartSerializer):
    """A part of an item begins or is complete."""

    part = ResponsePartSerializer(help_text="The part.")


class ResponseDeltaEventSerializer(OfPartSerializer):
    """The next piece of the text."""

    delta = serializers.CharField(help_text="The piece.")
    logprobs = TokenLogprobSerializer(many=True, help_text="Those of its tokens, if `include` asks for them.")


class ResponseTextEventSerializer(OfPartSerializer):
    """The text is complete."""

    text = serializers.CharField(help_text="The text.")
    logprobs = TokenLogprobSerializer(many=True, help_text="Those of its tokens, if `include` asks for them.")


class ResponseArgumentsDeltaEventSerializer(OfItemSerializer):
    """The next piece of the arguments of a call."""

    delta = serializers.CharField(help_text="The piece.")


class ResponseArgumentsEventSerializer(OfItemSerializer):
    """The arguments of a call are complete."""

    name = serializers.CharField(help_text="The name of the function.")
    arguments = serializers.CharField(help_text="The arguments: a JSON object, as text.")


class ResponseEventsSerializer(EventsSerializer):
    """An event of a stream, from `response.created` to the response as it ended."""

    named = {
        "response.created": ResponseEventSerializer,
        "response.in_progress": ResponseEventSerializer,
        "response.output_item.added": ResponseItemEventSerializer,
        "response.content_part.added": ResponsePartEventSerializer,
        "response.output_text.delta": ResponseDeltaEventSerializer,
        "response.output_text.done": ResponseTextEventSerializer,
        "response.content_part.done": ResponsePartEventSerializer,
        "response.function_call_arguments.delta": ResponseArgumentsDeltaEventSerializer,
        "response.function_call_arguments.done": ResponseArgumentsEventSerializer,
        "response.output_item.done": ResponseItemEventSerializer,
        "response.completed": ResponseEventSerializer,
        "response.incomplete": ResponseEventSerializer,
        "response.failed": ResponseEventSerializer,
    }
