"""Whether a JSON Schema is one by its draft's own schema.

`jsonschema` takes ten times as long to find out as `Evaluation`, so it is only asked what is wrong.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_specifications
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend, validator_for

from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.evaluation import Evaluation, TooLong
from inference.engine.grammar.paths import SchemaRefused, under

_LIMIT_S = 1.0
_TO_ROOT = frozenset({"$dynamicRef", "$recursiveRef"})


def check_well_formed(schema: Any) -> None:
    """Refuse what is no JSON Schema.

    Raises:
        SchemaRefused: it is none; the message names the place.
    """
    draft = validator_for(schema, default=Draft202012Validator)
    if _fits(schema, draft):
        return
    try:
        error = next(_in_order(draft).iter_errors(schema), None)
    except OverflowError as error:
        raise SchemaRefused("$", "a pattern in it repeats something too often") from error
    except RecursionError as error:
        raise SchemaRefused("$", "it is nested too deeply") from error
    if error is not None:
        reason = (error.message.strip().splitlines() or ["it is invalid"])[0][:300]
        raise SchemaRefused(under("$", *error.absolute_path), reason)


def _fits(schema: Any, draft: Any) -> bool:
    """Whether it certainly is a schema."""
    try:
        checked = _schema_of_schemas(draft)
        # The limit of the trial bounds what its patterns take to compile: they are compiled in any case.
        return Evaluation(checked, limit_s=_LIMIT_S, compiles_any=True).fits(checked.root, schema)
    except (OverflowError, RecursionError, SchemaRefused, TooLong):
        return False


@cache
def _schema_of_schemas(draft: Any) -> CheckedSchema:
    return CheckedSchema(_joined(dict(draft.META_SCHEMA)))


@cache
def _in_order(draft: Any) -> Any:
    """The validator of a draft's schema that finds the mistakes of a schema in the same order each time.

    `jsonschema` keeps the names that `additionalProperties` is about in a set. A part that names its draft
    would be left to the validator that `jsonschema` has for it, so the schema here is one document without.
    """
    root = _joined(dict(draft.META_SCHEMA))
    root.pop("$schema", None)
    ordered = extend(draft, {"additionalProperties": _additional_properties})
    return ordered(root, format_checker=draft.FORMAT_CHECKER)


def _additional_properties(
    validator: Any, part: Any, value: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    """As `jsonschema` judges them, where they fit a schema, as in every draft's own."""
    if validator.is_type(value, "object"):
        for name, one in value.items():
            if name not in schema.get("properties", ()):
                yield from validator.descend(one, part, path=name)


def _joined(root: dict[str, Any]) -> dict[str, Any]:
    """A draft's schema as one document: newer drafts have a document for each of their vocabularies.

    `$dynamicRef` and `$recursiveRef` point to the whole of them, which here is the root.
    """
    parts = [part["$ref"] for part in root.pop("allOf", ()) if "$ref" in part]
    registry = jsonschema_specifications.REGISTRY
    for reference in parts:
        part = registry.resolver(root["$id"]).lookup(reference).contents
        for name in ("properties", "$defs"):
            root[name] = {**part.get(name, {}), **root.get(name, {})}
    return dict(_simplified(root))


def _simplified(value: Any) -> Any:
    """With references to the root, and of the formats the one that `jsonschema` judges by itself."""
    if isinstance(value, list):
        return [_simplified(one) for one in value]
    if not isinstance(value, dict):
        return value
    simplified = {}
    for name, one in value.items():
        # What is no text is the schema of a keyword of this name.
        if not isinstance(one, str):
            simplified[name] = _simplified(one)
        elif name in _TO_ROOT:
            simplified["$ref"] = "#"
        elif name == "$ref":
            simplified[name] = one[one.index("#") :]  # another part's definitions are the root's here
        elif name != "$dynamicAnchor" and (name != "format" or one == "regex"):
            simplified[name] = one
    return simplified
