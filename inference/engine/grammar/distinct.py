"""How many different values fit a JSON Schema, at most."""

from typing import Any

from inference.engine.grammar.identity import identity
from inference.engine.grammar.pointers import resolve

_OF_TYPES = {"null": 1, "boolean": 2}
_DEEPEST = 20


class DistinctValues:
    """Counts the values of the parts of one document.

    Args:
        root: the document, by which references are resolved.
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def most(self, schema: Any, *, depth: int = 0) -> int | None:
        """The most different values that may fit; None if nothing here bounds them. It may be too many."""
        if schema is False:
            return 0
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        reference = schema.get("$ref")
        if isinstance(reference, str):  # what stands beside it may not count
            return self.most(resolve(self._root, reference), depth=depth + 1)
        bounds = [_of_literals(schema), _of_types(schema.get("type"))]
        bounds += [self.most(part, depth=depth + 1) for part in _list(schema, "allOf")]
        for name in ("anyOf", "oneOf"):
            if options := _list(schema, name):
                bounds.append(self._sum(options, depth=depth + 1))
        return min((bound for bound in bounds if bound is not None), default=None)

    def _sum(self, options: list[Any], *, depth: int) -> int | None:
        total = 0
        for option in options:
            bound = self.most(option, depth=depth)
            if bound is None:
                return None
            total += bound
        return total


def _of_literals(schema: dict[str, Any]) -> int | None:
    if "const" in schema:
        return 1
    values = schema.get("enum")
    return len(set(map(identity, values))) if isinstance(values, list) else None


def _of_types(types: Any) -> int | None:
    named = [types] if isinstance(types, str) else types
    if not isinstance(named, list) or not all(isinstance(name, str) and name in _OF_TYPES for name in named):
        return None
    return sum(_OF_TYPES[name] for name in set(named))


def _list(schema: dict[str, Any], name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []
