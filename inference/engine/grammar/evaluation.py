"""Whether a JSON value fits a schema, within a limit of time.

`jsonschema` cannot be used for it: it looks at no clock, searches with the unlimited backtracking of `re`,
and some of its keywords take time in proportion to the square of the text. The tests compare the two.
"""

import time
from typing import Any

import regex

from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.identity import identity
from inference.engine.grammar.keywords import KEYWORDS


class TooLong(Exception):
    """It takes too long to find out."""


class Evaluation:
    """Looks whether values fit the parts of a schema.

    Args:
        limit_s: seconds that the calling thread may compute. Time in which others run does not count.
        compiles_any: texts of the format “regex” are compiled however long that may take.

    Raises (all methods):
        TooLong: they are over.
    """

    def __init__(self, schema: CheckedSchema, *, limit_s: float, compiles_any: bool = False) -> None:
        self.schema = schema
        self.compiles_any = compiles_any
        self._until = time.thread_time() + limit_s

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value fits."""
        self._left_s()
        if isinstance(schema, bool):
            return schema
        if "$ref" in schema and self.schema.ignores_siblings:
            return self.fits(self.schema.target(schema), value)
        for name, argument in schema.items():
            check = KEYWORDS.get(name)
            if check is not None and not check(self, argument, value, schema):
                return False
        return True

    def found(self, pattern: str, text: str) -> bool:
        """Whether a pattern of the schema is somewhere in a text."""
        return self.search(self.schema.pattern(pattern), text)

    def search(self, pattern: regex.Pattern[str], text: str) -> bool:
        """Whether a compiled pattern is somewhere in a text."""
        try:
            return pattern.search(text, timeout=self._left_s()) is not None
        except TimeoutError as error:
            raise TooLong from error

    def unique(self, values: list[Any]) -> bool:
        """Whether no two of the values are equal."""
        seen = set()
        for value in values:
            self._left_s()
            seen.add(identity(value))
        return len(seen) == len(values)

    def evaluated_names(self, schema: Any, value: dict[str, Any], *, whole: bool = True) -> set[str]:
        """The properties that a schema which the value fits has looked at.

        Args:
            whole: with its `unevaluatedProperties`.
        """
        self._left_s()
        if not isinstance(schema, dict):
            return set()
        if "additionalProperties" in schema or (whole and "unevaluatedProperties" in schema):
            return set(value)
        names: set[str] = value.keys() & schema.get("properties", {}).keys()
        for pattern in schema.get("patternProperties", ()):
            names |= {name for name in value if self.found(pattern, name)}
        for part in self._parts_that_fit(schema, value):
            names |= self.evaluated_names(part, value)
        return names

    def evaluated_items(self, schema: Any, value: list[Any], *, whole: bool = True) -> set[int]:
        """The places of the items that a schema which the value fits has looked at.

        Args:
            whole: with its `unevaluatedItems`.
        """
        self._left_s()
        if not isinstance(schema, dict):
            return set()
        items = schema.get("items")
        if (
            isinstance(items, dict | bool)
            or "additionalItems" in schema
            or (whole and "unevaluatedItems" in schema)
        ):
            return set(range(len(value)))
        first = items if isinstance(items, list) else schema.get("prefixItems", ())
        places = set(range(min(len(first), len(value))))
        if "contains" in schema and self.schema.draft > 2019:
            places |= {place for place, one in enumerate(value) if self.fits(schema["contains"], one)}
        for part in self._parts_that_fit(schema, value):
            places |= self.evaluated_items(part, value)
        return places

    def _parts_that_fit(self, schema: dict[str, Any], value: Any) -> list[Any]:
        """The schemas that this one applies to the same value and that it fits."""
        parts = [self.schema.target(schema)] if "$ref" in schema else []
        for name in ("allOf", "anyOf", "oneOf"):
            parts += [part for part in schema.get(name, ()) if self.fits(part, value)]
        if isinstance(value, dict):
            dependent = schema.get("dependentSchemas", {})
            parts += [part for name, part in dependent.items() if name in value]
        if "if" in schema:
            holds = self.fits(schema["if"], value)
            parts += [schema["if"]] if holds else []
            parts += [schema.get("then" if holds else "else", True)]
        return parts

    def _left_s(self) -> float:
        left_s = self._until - time.thread_time()
        if left_s <= 0:
            raise TooLong
        return left_s
