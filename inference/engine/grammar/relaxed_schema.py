"""A JSON Schema as llguidance can enforce it: a keyword is kept, left to a check at the end, or refused."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inference.engine.grammar.distinct import DistinctValues
from inference.engine.grammar.evaluated import evaluated_names
from inference.engine.grammar.formats import CHECKED_FORMATS, ENFORCED_FORMATS, PATTERNS_OF_FORMATS
from inference.engine.grammar.kinds import types_of
from inference.engine.grammar.paths import SchemaRefused, under
from inference.engine.grammar.pointers import pointer, resolve

if TYPE_CHECKING:
    from inference.engine.grammar.possible import Search

ONE = frozenset({"items", "additionalItems", "additionalProperties"})
MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})

CHECKED_AT_THE_END = frozenset(
    {
        *("not", "uniqueItems", "if", "then", "else", "contains", "minContains", "maxContains"),
        *("propertyNames", "dependencies", "dependentRequired", "dependentSchemas"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)
"""llguidance has no grammar for them. What is generated without them is checked when it ends."""

_BOUND_VALUES = CHECKED_AT_THE_END | {"$ref", "allOf", "oneOf", "minProperties", "maxProperties"}
"""Keywords by which a schema may have no value that llguidance would not notice."""

_IN_PLACE = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "dependencies"})

COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})

REFUSED = frozenset({"$dynamicRef", "$recursiveRef"})

LONGEST_LITERAL = 8192
"""Characters of a string of `const` or `enum`. Following it takes time in proportion to its square."""


@dataclass
class Relaxed:
    """A schema without the keywords that llguidance does not enforce.

    Attributes:
        schema: it, a copy.
        checked: whether a text may fit it that does not fit the original.
        children: by the id of each schema in it, those directly under it with their paths.
        impossible: by the id of a schema that no value fits, why; it is left as one that llguidance refuses.
    """

    schema: Any
    checked: bool = False
    children: dict[int, list[tuple[str, Any]]] = field(default_factory=dict)
    impossible: dict[int, str] = field(default_factory=dict)


def relax(
    schema: Any,
    search: "Search",
    *,
    nesting: int,
    count_properties: bool = True,
    bounds_values: bool = True,
) -> Relaxed:
    """Relax a schema, which is changed.

    Args:
        search: finds the values of the same schema, of another copy of it.
        nesting: the most schemas within each other.
        count_properties: keep `minProperties` and `maxProperties`.
        bounds_values: leave out of each part what the search says that it cannot be.

    Raises:
        SchemaRefused: it has a keyword that can be neither enforced nor checked.
    """
    relaxed = Relaxed(schema)
    walk = _Walk(
        relaxed, search, nesting=nesting, count_properties=count_properties, bounds_values=bounds_values
    )
    walk.visit(schema, search.checked.root, "$", 0)
    return relaxed


class _Walk:
    def __init__(
        self,
        relaxed: Relaxed,
        search: "Search",
        *,
        nesting: int,
        count_properties: bool,
        bounds_values: bool,
    ) -> None:
        self._relaxed = relaxed
        self._search = search
        self._nesting = nesting
        self._count_properties = count_properties
        self._bounds_values = bounds_values
        self._distinct = DistinctValues(relaxed.schema)

    def visit(self, schema: Any, original: Any, path: str, depth: int) -> None:
        """Change one schema and those under it.

        Args:
            original: it, in the copy that stays.
        """
        if depth > self._nesting:
            raise SchemaRefused(
                path, f"more than {self._nesting} schemas within each other are not supported"
            )
        if not isinstance(schema, dict) or id(schema) in self._relaxed.children:
            return
        below = self._relaxed.children[id(schema)] = list(subschemas(schema, path))
        self._change(schema, original, path)
        for (place, child), (_, unchanged) in zip(below, subschemas(original, path), strict=True):
            self.visit(child, unchanged, place, depth + 1)
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            # It may point to a place that is no schema by its keyword.
            target, unchanged = (
                resolve(root, reference) for root in (self._relaxed.schema, self._search.checked.root)
            )
            self.visit(target, unchanged, under("$", *pointer(reference)), depth + 1)

    def _change(self, schema: dict[str, Any], original: dict[str, Any], path: str) -> None:
        # Beside a reference they may not count.
        counts = "$ref" not in schema
        unique = counts and schema.get("uniqueItems") is True
        self._change_unevaluated(schema, original)
        for name in list(schema):
            if name in REFUSED:
                raise SchemaRefused(under(path, name), "this keyword is not supported")
            if name in CHECKED_AT_THE_END:
                asks_nothing = name in ("uniqueItems", "not") and schema[name] is False
                del schema[name]
                self._relaxed.checked |= not asks_nothing
        self._check_reference(schema, path)
        self._check_literals(schema, path)
        self._change_format(schema, path)
        self._change_counts(schema)
        if unique:
            self._bound_unique(schema)
        if self._bounds_values and _BOUND_VALUES & original.keys():
            self._bound_values(schema, original)

    def _change_unevaluated(self, schema: dict[str, Any], original: dict[str, Any]) -> None:
        """Enforce that nothing is unevaluated, as far as the names of properties tell."""
        in_place = _IN_PLACE & schema.keys()
        if schema.get("unevaluatedItems") is False and not in_place | ({"items", "contains"} & schema.keys()):
            del schema["unevaluatedItems"]
            schema["items"] = False
        if schema.get("unevaluatedProperties") is not False:
            return
        checked = self._search.checked
        if not in_place and "additionalProperties" not in schema:
            del schema["unevaluatedProperties"]
            schema["additionalProperties"] = False
        elif not ("$ref" in schema and checked.ignores_siblings):
            names = evaluated_names(original, checked)
            if names is not None:
                schema["properties"] = dict.fromkeys(names, True) | schema.get("properties", {})
                schema["additionalProperties"] = False

    def _bound_values(self, schema: dict[str, Any], original: dict[str, Any]) -> None:
        """Let only those values be drawn that can fit."""
        possible = self._search.of(original)
        if not possible.kinds:
            schema["enum"] = []
            self._relaxed.impossible[id(schema)] = possible.reason or "nothing fits all of it"
        elif "$ref" in schema:
            return  # what stands beside it may not count
        elif possible.values is not None and "enum" in schema:
            schema["enum"] = list(possible.values)
        elif ("not" in original or "if" in original) and (types := types_of(possible.kinds)) is not None:
            schema["type"] = types

    def _check_reference(self, schema: dict[str, Any], path: str) -> None:
        reference = schema.get("$ref")
        root = self._relaxed.schema
        own = str(root.get("$id", root.get("id", ""))) if isinstance(root, dict) else ""
        if isinstance(reference, str) and "://" in reference:
            if own and reference.split("#")[0] == own.split("#")[0]:
                return
            raise SchemaRefused(under(path, "$ref"), "references to other documents are not supported")

    def _check_literals(self, schema: dict[str, Any], path: str) -> None:
        values = schema.get("enum", [])
        literals = [("const", schema.get("const"))] + [
            ("enum", value) for value in (values if isinstance(values, list) else [])
        ]
        for name, value in literals:
            if isinstance(value, str) and len(value) > LONGEST_LITERAL:
                raise SchemaRefused(
                    under(path, name), f"strings of more than {LONGEST_LITERAL} characters are not supported"
                )

    def _change_format(self, schema: dict[str, Any], path: str) -> None:
        name = schema.get("format")
        if not isinstance(name, str) or name in ENFORCED_FORMATS:
            return
        types = schema.get("type", "string")
        del schema["format"]
        if "string" not in types:
            return  # formats of numbers are annotations
        if pattern := PATTERNS_OF_FORMATS.get(name):
            kept = {"type": schema["type"]} if "type" in schema else {}
            schema["allOf"] = [*schema.get("allOf", ()), {**kept, "pattern": pattern}]
        elif name in CHECKED_FORMATS:
            self._relaxed.checked = True
        else:
            raise SchemaRefused(under(path, "format"), f"the format “{name[:64]}” is not supported")

    def _change_counts(self, schema: dict[str, Any]) -> None:
        for name in COUNTS & schema.keys():
            # A whole number may be written as a fraction, but llguidance wants an integer.
            if isinstance(count := schema[name], float) and count.is_integer():
                schema[name] = int(count)
        if not self._count_properties:
            for name in ("minProperties", "maxProperties"):
                self._relaxed.checked |= schema.pop(name, None) is not None
        least = schema.get("minProperties")
        # The same name may come twice, and then counts once.
        self._relaxed.checked |= isinstance(least, int) and least > 1
        # `jsonschema` divides floating-point numbers to check it.
        self._relaxed.checked |= isinstance(schema.get("multipleOf"), float)

    def _bound_unique(self, schema: dict[str, Any]) -> None:
        """End an array before its items must repeat: nothing else would tell the model that it has to."""
        items, first = schema.get("items"), schema.get("prefixItems", [])
        if not isinstance(items, dict) or not isinstance(first, list):
            return
        different = self._distinct.most(items)
        if different is None:
            return
        bound, most, least = len(first) + different, schema.get("maxItems"), schema.get("minItems")
        if not isinstance(most, int) or most > bound:
            schema["maxItems"] = bound
        if isinstance(least, int) and least > bound:
            self._relaxed.impossible[id(schema)] = (
                f"its items must differ, and of the {least} that it must have at least, only {bound} can"
            )


def subschemas(schema: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The schemas directly under one that llguidance reads, and their paths."""
    for name, value in schema.items():
        if name in NAMED and isinstance(value, dict):
            yield from ((under(path, name, key), child) for key, child in value.items())
        elif name in MANY and isinstance(value, list):
            yield from ((under(path, name, index), child) for index, child in enumerate(value))
        elif name in ONE:
            yield under(path, name), value
