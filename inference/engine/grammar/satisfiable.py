"""Whether a JSON Schema has a finite value; llguidance does not ask, and its texts would never end."""

from typing import Any

from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.pointers import resolve
from inference.engine.grammar.relaxed_schema import Relaxed


def check_satisfiable(relaxed: Relaxed) -> None:
    """Refuse a schema each of whose values contains another of its own without end.

    Raises:
        SchemaRefused: it has no finite value.
    """
    search = _Search(relaxed.schema)
    while search.improve():
        pass
    if not search.is_finite(relaxed.schema):
        raise SchemaRefused("$", "no finite value satisfies this schema: it contains itself without end")


class _Search:
    """The least fixed point: a reference has a finite value once its target has one without it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._finite: dict[str, bool] = {}

    def improve(self) -> bool:
        """Look once more; returns whether a reference turned out to have a finite value."""
        before = dict(self._finite)
        self.is_finite(self._root)
        for reference in list(self._finite):
            self._finite[reference] = self._finite[reference] or self.is_finite(
                resolve(self._root, reference)
            )
        return self._finite != before

    def is_finite(self, schema: Any) -> bool:
        if not isinstance(schema, dict):
            return True
        reference = schema.get("$ref")
        if isinstance(reference, str) and not self._finite.setdefault(
            reference, not reference.startswith("#")
        ):
            return False
        if not all(map(self.is_finite, _list(schema, "allOf"))):
            return False
        for name in ("anyOf", "oneOf"):
            options = _list(schema, name)
            if options and not any(self.is_finite(option) for option in options):
                return False
        types = schema.get("type", "any")
        if types == "object" or types == ["object"]:
            return self._required_are_finite(schema)
        if types == "array" or types == ["array"]:
            return self._items_are_finite(schema)
        return True

    def _required_are_finite(self, schema: dict[str, Any]) -> bool:
        properties = schema.get("properties", {})
        required = [properties.get(name) for name in _list(schema, "required")]
        return all(self.is_finite(one) for one in required)

    def _items_are_finite(self, schema: dict[str, Any]) -> bool:
        least, first = schema.get("minItems", 0), _list(schema, "prefixItems")
        if not all(self.is_finite(one) for one in first[:least]):
            return False
        return least <= len(first) or self.is_finite(schema.get("items"))


def _list(schema: dict[str, Any], name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []
