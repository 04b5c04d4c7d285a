"""What the tests of OpenAI's API share: a chat template, messages, and reading answers."""

import json
from typing import Any

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROMPT = "Once"
IMAGE = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
USER = [{"role": "user", "content": "Hi"}]


def refused(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def error_of(response: bytes) -> dict[str, Any]:
    """Checks that a whole answer over HTTP is an error in OpenAI's form, and returns it."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def chunks(response: Any) -> list[dict[str, Any]]:
    assert response["Content-Type"] == "text/event-stream"
    lines = b"".join(response.streaming_content).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
