"""Which properties of an object a JSON Schema may have evaluated, for `unevaluatedProperties`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.engine.grammar.checked_schema import CheckedSchema

_OTHERS = frozenset({"patternProperties", "additionalProperties", "unevaluatedProperties"})
"""They evaluate properties whatever their names are."""


def evaluated_names(schema: dict[str, Any], checked: "CheckedSchema") -> list[str] | None:
    """The names of all properties that the schema may have evaluated, in its order; None for any.

    Its own `unevaluatedProperties` does not count.
    """
    names: dict[str, None] = {}
    left: list[Any] = [schema]
    seen: set[int] = set()
    while left:
        part = left.pop(0)
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        if _OTHERS & part.keys() - ({"unevaluatedProperties"} if part is schema else set()):
            return None
        names |= dict.fromkeys(part.get("properties", ()))
        left += [checked.target(part)] if "$ref" in part else []
        for name in ("allOf", "anyOf", "oneOf"):
            left += part.get(name, ())
        left += [part[name] for name in ("if", "then", "else") if name in part]
        for name in ("dependentSchemas", "dependencies"):
            # Before the draft that has it, a keyword may have an argument of any kind.
            left += named.values() if isinstance(named := part.get(name), dict) else ()
    return list(names)
