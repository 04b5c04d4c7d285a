"""What schemathesis is told of this service; `tests/schemathesis.toml` names this module."""

import itertools
import json
import os
import re
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

# Rules that JSON Schema states badly or not at all: on two fields together, or on the model. By the field and
# the code of the refusal, or the start of its text.
RULES = {
    ("best_of", "Must equal `n`"),
    ("choice", "Only one of"),
    ("grammar", "Only one of"),
    ("json_schema", "Only one of"),
    *(
        (name, "Must not")
        for name in (
            *("json_schema", "response_format.json_schema.schema", "structured_outputs.json"),
            "text.format.schema",
        )
    ),
    ("regex", "Only one of"),
    ("structured_outputs", "Only one of"),
    ("structured_outputs", "Must have one of"),
    *(
        (f"structured_outputs.{name}", "Only one of")
        for name in ("regex", "choice", "grammar", "json_object")
    ),
    ("messages[]", "A result must follow"),
    ("messages[].role", "Must be tool"),
    ("messages[].tool_call_id", "No call of the assistant"),
    ("messages[].tool_calls[].function.arguments", ""),
    ("messages[].tool_calls[].id", "Another call"),
    ("parallel_tool_calls", "Only allowed with `tools`."),
    ("tool_choice", "No tool has the name"),
    ("tool_choice", "Only allowed with `tools`."),
    ("tool_choice", "The chat template"),
    ("tools", "Only allowed with messages."),
    ("tools[].function.parameters", "Must not"),
    ("tools[].parameters", "Must not"),
    ("tools[].function.name", "Another tool"),
    ("tools[].name", "Another tool"),
    ("prompt", "Send either prompt or messages."),
    ("prompt_logprobs", "Not allowed with `stream`."),
    ("continue_final_message", ""),
    ("add_generation_prompt", ""),
    ("add_special_tokens", "Must not be true with messages."),
    ("messages", "Send either prompt or messages."),
    ("input[]", "A result must follow"),
    ("input[].call_id", "No call of the assistant"),
    ("input[].call_id", "Another call"),
    ("input[].arguments", ""),
    ("tokens", "This model has no token"),
    ("max_tokens", "Must be at least 1 without `echo`."),
    ("max_tokens", "Must not differ from"),
    ("n", "The request asks for"),
    ("stream_options", "Only allowed with `stream`."),
    ("top_logprobs", "Only allowed with"),
    ("top_logprobs", "The answer may have"),
}
RULES_OF_THE_MODEL = {
    "context_length_exceeded",
    "invalid_chat",
    "invalid_grammar",
    "prompt_empty",
    "prompt_token",
    "prompt_too_long",
    "unknown_token",
}


ONE_IN = int(os.environ.get("FUZZ_ONE_IN", "1"))
"""Of the requests that the document excludes, which are many and much alike, one in this many is sent."""

TEXT_FORMATS = ("response_format", "text", "structured_outputs")

_excluded = itertools.count()

TOO_LARGE = 413
"""The whole body has limits, in bytes, parts and depth, where the document can describe fields only."""


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Keep every request that the document describes, and every `ONE_IN`-th of the others."""
    return case.meta.generation.mode == GenerationMode.POSITIVE or next(_excluded) % ONE_IN == 0


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Let a request that the document describes keep the most frequent rules, to see what is beyond them.

    The coverage phase varies one body that has every field, so that each of its requests would break them.
    """
    if case.meta.generation.mode == GenerationMode.POSITIVE and isinstance(case.body, dict):
        body = case.body
        grammars = [
            name for name in ("json_schema", "regex", "choice", "grammar") if body.get(name) is not None
        ]
        excluded = {*grammars[1:], *(TEXT_FORMATS if body.get("tools") else ())}
        case.body = {name: value for name, value in body.items() if name not in excluded}
        if body.get("max_tokens") == 0:
            case.body["echo"] = True
    return case


@schemathesis.check
def accepts_what_the_document_accepts(ctx: Any, response: Any, case: Any) -> bool | None:
    """`positive_data_acceptance`, but a refusal may name one of the rules that the document cannot state."""
    if response.status_code == TOO_LARGE:
        return None
    if response.status_code in {400, 422} and _names_a_rule(json.loads(response.content)):
        return None
    accepted: bool | None = positive_data_acceptance(ctx, response, case)
    return accepted


def _names_a_rule(body: dict[str, Any]) -> bool:
    if "error" in body:
        code, errors = body["error"]["code"], [(body["error"]["param"], body["error"]["message"])]
    else:
        code, errors = body["code"], [(error["field"], error["detail"]) for error in body.get("errors", [])]
    if code in RULES_OF_THE_MODEL:
        return True
    return any(_is(name, start, field, text) for field, text in errors for name, start in RULES)


def _is(name: str, start: str, field: str | None, text: str) -> bool:
    if field is None or re.sub(r"\d+", "", field) != name:
        return False
    return text.removeprefix(f"{field}: ").startswith(start)
