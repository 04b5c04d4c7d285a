"""The OpenAPI document as the tests use it: whether an answer of the service is one that it describes."""

import json
from collections.abc import Iterator
from typing import Any

from django.test import Client
from openapi_schema_validator import OAS31Validator

EVENT_STREAM = "text/event-stream"


def served(client: Client) -> dict[str, Any]:
    response = client.get("/schema")
    assert response.status_code == 200
    document: dict[str, Any] = json.loads(response.content)
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def validator(document: dict[str, Any], schema: dict[str, Any]) -> OAS31Validator:
    return OAS31Validator({**schema, "components": document["components"]})


def check_content(document: dict[str, Any], media_type: str, schema: dict[str, Any], content: Any) -> None:
    """Checks what an answer or an example contains: JSON as a value, a stream of events as text."""
    if media_type != EVENT_STREAM:
        validator(document, schema).validate(content)
        return
    events = list(_events(content))
    assert events
    for event in events:
        validator(document, schema).validate(event)
        if event["data"] != "[DONE]":
            validator(document, _data_schema(document, schema, event)).validate(json.loads(event["data"]))


def check_answer(document: dict[str, Any], path: str, method: str, answer: Any) -> None:
    """Checks that the document describes the answer: status, media type, headers, and every field."""
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    for name, reference in described["headers"].items():
        header = document["components"]["headers"][reference["$ref"].rpartition("/")[2]]
        assert name in answer.headers or not header["required"], f"{path} {answer.status_code}: {name}"
    media_type = answer["Content-Type"]
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    content = body.decode() if media_type == EVENT_STREAM else json.loads(body)
    check_content(closed(document), media_type, described["content"][media_type]["schema"], content)


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with components that allow no other fields, so that it has to name all of them."""
    schemas = {
        name: {"additionalProperties": False, **schema} if "properties" in schema else schema
        for name, schema in document["components"]["schemas"].items()
    }
    return {**document, "components": {**document["components"], "schemas": schemas}}


def _events(stream: str) -> Iterator[dict[str, str]]:
    *blocks, rest = stream.split("\n\n")
    assert rest == "", "a stream ends with a complete event"
    for block in blocks:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if lines:
            yield dict(line.split(": ", 1) for line in lines)


def _data_schema(document: dict[str, Any], schema: dict[str, Any], event: dict[str, str]) -> Any:
    """What the JSON text in an event's data contains, which JSON Schema describes but does not check."""
    described = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    kinds = [
        kind
        for kind in described.get("oneOf", [described])
        if kind["properties"].get("event", {}).get("const") == event.get("event")
    ]
    [data] = [kind["properties"]["data"] for kind in kinds]
    texts = [text for text in data.get("anyOf", [data]) if "contentSchema" in text]
    return texts[0]["contentSchema"]
