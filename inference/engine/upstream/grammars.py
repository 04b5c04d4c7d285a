"""What a text must fit, in an engine's own fields."""

import json
from typing import Any

from inference.engine.errors import UpstreamRefused
from inference.engine.grammar.source import Grammar
from inference.engine.upstream.dialect import GrammarForm

_STRUCTURED = {"json_schema": "json", "regex": "regex", "choice": "choice", "grammar": "grammar"}


def grammar_fields(grammar: Grammar, form: GrammarForm, *, chat: bool) -> dict[str, Any]:
    """The fields of the request for this grammar, which is no grammar of tool calls.

    Raises:
        UpstreamRefused: the engine has none for it.
    """
    if form == "structured_outputs":
        return {"structured_outputs": _structured(grammar)}
    if chat and grammar.is_json:
        return {"response_format": _response_format(grammar)}
    match form, grammar.kind:
        case "sglang", "json_schema" | "json_object":
            return {"json_schema": grammar.source}
        case "sglang", "regex":
            return {"regex": grammar.source}
        case "sglang", "grammar":
            return {"ebnf": grammar.source}
        case "llamacpp", "json_schema" | "json_object":
            return {"json_schema": json.loads(grammar.source)}
        case "llamacpp", "grammar":
            return {"grammar": grammar.source}
    kind = grammar.kind.replace("_", " ")
    raise UpstreamRefused(
        f"{grammar.field}: the engine behind this service cannot hold a text to a {kind}.",
        field=grammar.field,
    )


def _structured(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind == "json_object":
        return {"json_object": True}
    as_json = grammar.kind in ("json_schema", "choice")
    return {_STRUCTURED[grammar.kind]: json.loads(grammar.source) if as_json else grammar.source}


def _response_format(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind == "json_object":
        return {"type": "json_object"}
    described = {"name": "answer", "schema": json.loads(grammar.source), "strict": True}
    return {"type": "json_schema", "json_schema": described}
