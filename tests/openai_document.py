"""OpenAI's published OpenAPI document: the schemas of what this service answers.

`python -m tests.openai_document openapi.json` writes the excerpt anew, from the document of
https://github.com/openai/openai-openapi.
"""

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from openapi_schema_validator import OAS31Validator

EXCERPT = Path(__file__).parent / "data" / "openai.json"
ROOTS = (
    "CreateCompletionResponse",
    "CreateChatCompletionResponse",
    "CreateChatCompletionStreamResponse",
    "ListModelsResponse",
    "Model",
    "ErrorResponse",
    "Response",
    "ResponseStreamEvent",
)
# Of a choice of many schemas, those that this service can answer. What asks is as good as left out.
OF_RESPONSES = (
    *("Created", "InProgress", "Completed", "Incomplete", "Failed", "Error", "OutputItemAdded"),
    *("OutputItemDone", "ContentPartAdded", "ContentPartDone", "TextDelta", "TextDone"),
    *("FunctionCallArgumentsDelta", "FunctionCallArgumentsDone"),
)
CHOICES = {
    "ResponseStreamEvent": tuple(f"Response{name}Event" for name in OF_RESPONSES),
    "OutputItem": ("OutputMessage", "FunctionToolCall"),
    "OutputContent": ("OutputTextContent", "RefusalContent"),
    "OutputMessageContent": ("OutputTextContent", "RefusalContent"),
    "InputItem": ("EasyInputMessage",),
    "InputContent": ("InputTextContent",),
    "Tool": ("FunctionTool",),
    "ToolChoiceParam": ("ToolChoiceOptions", "ToolChoiceFunction"),
    "Annotation": ("UrlCitationBody",),
}
PROSE = {
    "default",
    "deprecated",
    "description",
    "discriminator",
    "example",
    "examples",
    "externalDocs",
    "title",
}

# Where OpenAI's own answers differ from its document.
DIFFERENCES: dict[tuple[str, ...], str] = {
    ("usage",): "null in each chunk but the last, where a stream has usage",
    ("choices", "items", "finish_reason"): "null in each chunk of a stream but the last",
    ("choices", "items", "logprobs", "token_logprobs", "items"): "null for the first token of an echo",
    ("choices", "items", "logprobs", "top_logprobs", "items"): "null for the first token of an echo",
}


def excerpt(document: dict[str, Any]) -> dict[str, Any]:
    """The schemas of ROOTS, and those that they need."""
    schemas, found, pending = document["components"]["schemas"], {}, list(ROOTS)
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = _without_prose(_chosen(name, schemas[name]))
            pending += _references(found[name])
    return dict(sorted(found.items()))


@cache
def validator(name: str) -> OAS31Validator:
    """Validates an answer, as the document says and OpenAI's own answers are."""
    schemas = json.loads(EXCERPT.read_text())["schemas"]
    for path in DIFFERENCES:
        schema = schemas["CreateCompletionResponse"]
        for step in path[:-1]:
            schema = _inside(schema, step)
        parent = schema if path[-1] == "items" else schema["properties"]
        parent[path[-1]] = {"anyOf": [parent[path[-1]], {"type": "null"}]}
    root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return OAS31Validator(root)


def _inside(schema: dict[str, Any], step: str) -> Any:
    inner = schema["items"] if step == "items" else schema["properties"][step]
    return next((one for one in inner.get("anyOf", ()) if one.get("type") != "null"), inner)


def _chosen(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name not in CHOICES:
        return schema
    of = "anyOf" if "anyOf" in schema else "oneOf"
    kept = [one for one in schema[of] if one["$ref"].rpartition("/")[2] in CHOICES[name]]
    if len(kept) != len(CHOICES[name]):
        raise ValueError(f"{name} has not all of {CHOICES[name]}: {schema[of]}")
    return {**schema, of: kept}


def _without_prose(schema: Any, *, names: bool = False) -> Any:
    """Without what only people read; `nullable`, which OpenAPI 3.1 does not have, as a choice of null."""
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _without_prose(value, names=key == "properties" and not names)
        for key, value in schema.items()
        if names or (key not in PROSE | {"nullable"} and not key.startswith("x-"))
    }
    return {"anyOf": [kept, {"type": "null"}]} if not names and schema.get("nullable") is True else kept


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)


def main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text())
    kept = json.loads(EXCERPT.read_text()) if EXCERPT.exists() else {}
    lines = [f"  {json.dumps(name)}: {json.dumps(schema)}" for name, schema in excerpt(document).items()]
    about = {"origin": kept["origin"], "version": document["info"]["version"], "licence": kept["licence"]}
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
    EXCERPT.write_text("{\n" + head + ',\n "schemas": {\n' + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    main()
