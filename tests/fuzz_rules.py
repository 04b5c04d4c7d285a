"""What schemathesis is told of this service; `tests/schemathesis.toml` names this module."""

import json
from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

# Rules that JSON Schema states badly or not at all: on two fields together, or on the model. By the field and
# the code of the refusal, or the start of its text.
RULES = {
    ("best_of", "Must equal `n`"),
    ("max_tokens", "Must be at least 1 without `echo`."),
    ("n", "The request asks for"),
    ("stream_options", "Only allowed with `stream`."),
    ("top_logprobs", "Only allowed with `logprobs`."),
}
RULES_OF_THE_MODEL = {
    "context_length_exceeded",
    "invalid_chat",
    "prompt_empty",
    "prompt_token",
    "prompt_too_long",
    "unknown_token",
}


@schemathesis.check
def accepts_what_the_document_accepts(ctx: Any, response: Any, case: Any) -> bool | None:
    """`positive_data_acceptance`, but a refusal may name one of the rules that the document cannot state."""
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
    rules = [(name, f"{name}: {start}") for name, start in RULES]
    return any(field == name and text.startswith(start) for field, text in errors for name, start in rules)
