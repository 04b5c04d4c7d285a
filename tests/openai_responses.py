"""Reads answers of `/v1/responses`, which OpenAI's own types have to accept."""

from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.sse import ServerSentEvent, parse

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}


def answered(response: Any) -> dict[str, Any]:
    """The response of an answer, which OpenAI's type accepts."""
    assert response.status_code == 200, response.content
    Response.model_validate_json(response.content, strict=True)
    body: dict[str, Any] = response.json()
    return body


def text_of(response: dict[str, Any]) -> str:
    [item] = response["output"]
    [part] = item["content"]
    return str(part["text"])


def events(response: Any) -> list[ServerSentEvent]:
    """The events of a stream, each of which OpenAI's types accept."""
    assert response["Content-Type"] == "text/event-stream"
    body = b"".join(response.streaming_content).decode()
    assert "[DONE]" not in body
    found = list(parse(body.split("\n")))
    for number, event in enumerate(found):
        assert EVENT.validate_python(event.data, strict=True).type == event.name
        assert event.data["sequence_number"] == number
    return found


def without_identity(response: dict[str, Any]) -> dict[str, Any]:
    """What two responses to the same request have in common; the second may find its prompt computed."""
    own = {"id", "created_at", "completed_at", "output", "usage"}
    items = [{**item, "id": None} for item in response["output"]]
    usage = {**response["usage"], "input_tokens_details": None} if response.get("usage") else None
    common = {name: value for name, value in response.items() if name not in own}
    return {**common, "output": items, "usage": usage}
