"""The parts of messages that belong to tools: calls of the assistant, and the results of tools."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NoReturn

from inference.api.json_value import TOO_DEEP, flaw_of
from inference.api.openai.refusal import refuse
from inference.api.openai.tools import NAME, NAME_RULE
from inference.engine.grammar.finite import is_finite
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

MAX_CALLS = 128
MAX_ID_LENGTH = 64
ID_RULE = f"Must be a string of 1 to {MAX_ID_LENGTH} characters."
SAME_ID = "Another call of the same answer has this id as well."
ADDED_BY_CLIENT = {"description": "Not used: OpenAI's client adds it."}
"""The schema of what OpenAI's client leaves in an answer, and sends back with it."""
PARSED_ARGUMENTS = "parsed_arguments"
"""What OpenAI's client adds to a call whose arguments it has parsed; it sends it back with the call."""

TOOL_CALLS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_CALLS,
    "items": {
        "type": "object",
        "properties": {
            "id": {**TEXT_SCHEMA, "minLength": 1, "maxLength": MAX_ID_LENGTH},
            "type": {"type": "string", "enum": ["function"]},
            "index": {"type": ["integer", "null"], **ADDED_BY_CLIENT},
            "function": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
                    "arguments": {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "description": "A JSON object, as text.",
                    },
                    PARSED_ARGUMENTS: ADDED_BY_CLIENT,
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            },
        },
        "required": ["id", "type", "function"],
        "additionalProperties": False,
    },
}


def tool_calls(data: Any, *path: str | int) -> list[dict[str, Any]]:
    """The calls at `path`, with their arguments as objects, as chat templates read them.

    Raises:
        ValidationError: what is wrong with which call.
    """
    if not isinstance(data, list) or not 0 < len(data) <= MAX_CALLS:
        refuse(*path, reason=f"Must be a list of 1 to {MAX_CALLS} calls.")
    calls = [_call(call, *path, index) for index, call in enumerate(data)]
    seen: set[str] = set()
    for index, call in enumerate(calls):
        if call["id"] in seen:
            refuse(*path, index, "id", reason=SAME_ID)
        seen.add(call["id"])
    return calls


def function_call(identity: str, function: Mapping[str, Any], *path: str | int) -> dict[str, Any]:
    """A call, whose name and arguments are among the fields at `path`.

    Raises:
        ValidationError: what is wrong with them.
    """
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        refuse(*path, "name", reason=NAME_RULE)
    arguments = _arguments(function.get("arguments"), *path, "arguments")
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def call_id(value: Any, *path: str | int) -> str:
    """The id of a call, which stands at `path`.

    Raises:
        ValidationError: it is no such id.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or NOT_TEXT.search(value):
        refuse(*path, reason=ID_RULE)
    return value


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How an endpoint writes results of tools: in what, and with which field for the id of the call."""

    kind_field: str
    kind: str
    id_field: str


MESSAGES = Naming(kind_field="role", kind="tool", id_field="tool_call_id")


def check_order(
    messages: Sequence[Mapping[str, Any]], *, naming: Naming = MESSAGES, places: Sequence[int] | None = None
) -> None:
    """Refuse results without their call, and calls without their results.

    Args:
        naming: the endpoint's, for its errors.
        places: where each message stands in the field, if it is not one after another.

    Raises:
        ValidationError: there are such, at the place that it names.
    """
    places = range(len(messages)) if places is None else places
    open_calls: set[str] = set()
    for place, message in zip(places, messages, strict=True):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                reason = "No call of the assistant before it has this id, or it has a result."
                refuse(place, naming.id_field, reason=reason)
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            refuse(place, naming.kind_field, reason=f"Must be {naming.kind}: {_missing(open_calls)}.")
        open_calls = {call["id"] for call in message.get("tool_calls", ())}
    if open_calls:
        refuse(places[-1], reason=f"A result must follow: {_missing(open_calls)}.")


def with_names(messages: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The messages with the name of its tool in each result: some chat templates write it."""
    names: dict[str, str] = {}
    named = []
    for message in messages:
        names |= {call["id"]: call["function"]["name"] for call in message.get("tool_calls", ())}
        named.append(
            {**message, "name": names[message["tool_call_id"]]} if message["role"] == "tool" else message
        )
    return tuple(named)


def _missing(calls: set[str]) -> str:
    some = ", ".join(f"“{one}”" for one in sorted(calls)[:8])
    return f"the call with the id {some} has no result" if len(calls) == 1 else f"{some} have no results"


def _call(data: Any, *path: str | int) -> dict[str, Any]:
    # OpenAI's client leaves `index` in calls that it has put together from a stream.
    _check_names(data, ("id", "type", "function"), "index", *path)
    if not isinstance(data.get("index"), int | None) or isinstance(data.get("index"), bool):
        refuse(*path, "index", reason="Must be an integer.")
    if data["type"] != "function":
        refuse(*path, "type", reason="This service supports calls of the type function only.")
    function = data["function"]
    _check_names(function, ("name", "arguments"), PARSED_ARGUMENTS, *path, "function")
    identity = call_id(data["id"], *path, "id")
    return function_call(identity, function, *path, "function")


def _check_names(data: Any, needed: Sequence[str], ignored: str, *path: str | int) -> None:
    if isinstance(data, Mapping):
        for name, value in data.items():
            if name not in (*needed, ignored) and value is not None:
                refuse(*path, name[:64], reason="This service does not support this field.")
    if not isinstance(data, Mapping) or not data.keys() >= set(needed):
        refuse(*path, reason=f"Must have the fields {', '.join(needed[:-1])} and {needed[-1]}.")


def _arguments(text: Any, *path: str | int) -> dict[str, Any]:
    if not isinstance(text, str):
        refuse(*path, reason="Must be a string that contains a JSON object.")
    try:
        arguments = json.loads(text or "{}", parse_int=_integer, parse_constant=_refuse_constant)
    except RecursionError:
        refuse(*path, reason=TOO_DEEP)
    except ValueError:
        refuse(*path, reason="Is not valid JSON.")
    if not isinstance(arguments, dict):
        refuse(*path, reason="Must contain a JSON object.")
    if (flaw := flaw_of(arguments)) is not None:
        refuse(*path, reason=flaw)
    return arguments


def _integer(digits: str) -> int | float:
    """An integer; as infinite, which `flaw_of` refuses, if no client could read it."""
    return int(digits) if is_finite(digits) else inf


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
