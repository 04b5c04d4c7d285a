"""A JSON Schema, ready to check finished values; what could not be judged then is refused before."""

from collections.abc import Hashable, Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

import regex

from inference.engine.grammar.formats import JUDGED_FORMATS
from inference.engine.grammar.identity import identity
from inference.engine.grammar.paths import SchemaRefused, under
from inference.engine.grammar.pattern_meaning import why_ambiguous
from inference.engine.grammar.pointers import resolve
from inference.engine.grammar.relaxed_schema import MANY, NAMED, ONE

_IN_PLACE_ONE = frozenset({"not", "if", "then", "else"})
_IN_PLACE_MANY = frozenset({"allOf", "anyOf", "oneOf"})
_IN_PLACE_NAMED = frozenset({"dependencies", "dependentSchemas"})
_ONE = ONE | _IN_PLACE_ONE | {"contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
_NAMED = NAMED | _IN_PLACE_NAMED
_ONLY_CHECKED = frozenset({*_ONE, *_NAMED} - ONE - NAMED)
"""Keywords whose schemas no grammar follows: the check alone judges them."""

_OF_DRAFT_3 = frozenset({"extends", "disallow", "divisibleBy"})
_UNSUPPORTED_DRAFT = 3
_DRAFTS = {
    "http://json-schema.org/draft-03/schema": _UNSUPPORTED_DRAFT,
    "http://json-schema.org/draft-04/schema": 4,
    "http://json-schema.org/draft-06/schema": 6,
    "http://json-schema.org/draft-07/schema": 7,
    "https://json-schema.org/draft/2019-09/schema": 2019,
}
_NEWEST = 2020
NEWEST_DRAFT = "https://json-schema.org/draft/2020-12/schema"
SUPPORTED_DRAFTS = (*(name for name, draft in _DRAFTS.items() if draft != _UNSUPPORTED_DRAFT), NEWEST_DRAFT)
"""The values of `$schema` that are known."""
_MOST_NESTED = 100


class CheckedSchema:
    """A schema with its references resolved and its patterns compiled.

    Args:
        nesting: the most schemas within each other.
        patterns: compile them at once, which may take longer than all the rest.

    Attributes:
        root: the schema itself.
        draft: the number of its draft, or the year of a newer one.

    Raises:
        SchemaRefused: values could not be judged by it.
    """

    def __init__(self, root: Any, *, nesting: int = _MOST_NESTED, patterns: bool = True) -> None:
        self.root = root
        self.draft = _draft_of(root)
        self._nesting = nesting
        self._compiles_patterns = patterns
        self._patterns: dict[str, regex.Pattern[str]] = {}
        self._uncompiled: dict[str, str] = {}
        self._targets: dict[int, Any] = {}
        self._literals: dict[int, frozenset[Hashable]] = {}
        self._in_place: dict[int, list[tuple[str, Any]]] = {}
        self._resources: dict[str, Any] = {}
        self._anchors: dict[tuple[str, str], Any] = {}
        self._bases: dict[int, str] = {}
        self._seen: set[tuple[int, bool]] = set()
        self._index(root, "", 0)
        self._visit(root, "$", "", 0, only_checked=False)

    def target(self, schema: dict[str, Any]) -> Any:
        """What the reference of this schema points to."""
        return self._targets[id(schema)]

    def pattern(self, pattern: str) -> regex.Pattern[str]:
        """The pattern, compiled: that has no look at the clock, so it is done before values are judged.

        Raises:
            SchemaRefused: it was not compiled at once, and texts cannot be searched for it.
        """
        if pattern not in self._patterns:
            self._compile_pattern(pattern, self._uncompiled[pattern])
        return self._patterns[pattern]

    def literals(self, schema: dict[str, Any]) -> frozenset[Hashable]:
        """The `identity` of each value of the schema's `enum`."""
        return self._literals[id(schema)]

    @property
    def ignores_siblings(self) -> bool:
        """Whether `$ref` stands for the whole schema that it is in."""
        return self.draft <= 7

    def compile_patterns(self) -> None:
        """Compile the patterns that were not compiled at once.

        Raises:
            SchemaRefused: texts cannot be searched for one.
        """
        for pattern, path in self._uncompiled.items():
            self._compile_pattern(pattern, path)
        self._uncompiled.clear()

    def check_ends(self) -> None:
        """Refuse a schema that applies itself to the same value again, without end.

        Raises:
            SchemaRefused: it does.
        """
        ended: set[int] = set()
        for start in list(self._in_place):
            on_the_way: dict[int, Iterator[tuple[str, Any]]] = {}
            if start not in ended:
                on_the_way[start] = iter(self._in_place[start])
            while on_the_way:
                current = next(reversed(on_the_way))
                step = next(on_the_way[current], None)
                if step is None:
                    ended.add(current)
                    del on_the_way[current]
                elif id(step[1]) in on_the_way:
                    raise SchemaRefused(step[0], "this schema applies itself to the same value without end")
                elif id(step[1]) not in ended:
                    on_the_way[id(step[1])] = iter(self._in_place.get(id(step[1]), ()))

    def _index(self, schema: Any, base: str, depth: int) -> None:
        """Find the names by which references can point to a schema and those under it."""
        if not isinstance(schema, dict) or depth > self._nesting:
            return
        base = self._bases[id(schema)] = self._base(schema, base)
        self._resources.setdefault(base, schema)
        own = _text(schema.get(self._id_keyword))
        for name in (_text(schema.get("$anchor")), own.removeprefix("#") if own.startswith("#") else ""):
            self._anchors.setdefault((base, name), schema)
        for _, child, _ in _below(schema):
            self._index(child, base, depth + 1)

    def _base(self, schema: dict[str, Any], base: str) -> str:
        own = _text(schema.get(self._id_keyword))
        if own.startswith("#") or (self.ignores_siblings and "$ref" in schema):
            return base
        try:
            return urldefrag(urljoin(base, own)).url if own else base
        except ValueError:
            return base

    @property
    def _id_keyword(self) -> str:
        return "id" if self.draft == 4 else "$id"

    def _visit(self, schema: Any, path: str, base: str, depth: int, *, only_checked: bool) -> None:
        if depth > self._nesting:
            raise SchemaRefused(
                path, f"more than {self._nesting} schemas within each other are not supported"
            )
        if isinstance(schema, bool) or (id(schema), only_checked) in self._seen:
            return
        if not isinstance(schema, dict):
            raise SchemaRefused(path, "a schema is an object, true or false")
        self._seen.add((id(schema), only_checked))
        base = self._bases.get(id(schema), base)
        self._refuse_keywords(schema, path)
        if only_checked:
            _refuse_unjudged_format(schema, path)
        self._compile_patterns(schema, path)
        if isinstance(schema.get("enum"), list):
            self._literals[id(schema)] = frozenset(map(identity, schema["enum"]))
        in_place = self._in_place.setdefault(id(schema), [])
        if "$ref" in schema:
            target = self._targets[id(schema)] = self._resolved(schema["$ref"], under(path, "$ref"), base)
            in_place.append((under(path, "$ref"), target))
            self._visit(target, under(path, "$ref"), base, depth + 1, only_checked=only_checked)
        for keys, child, name in _below(schema):
            place = under(path, *keys)
            if name in _IN_PLACE_ONE | _IN_PLACE_MANY | _IN_PLACE_NAMED and not (
                self.ignores_siblings and "$ref" in schema
            ):
                in_place.append((place, child))
            self._visit(child, place, base, depth + 1, only_checked=only_checked or name in _ONLY_CHECKED)

    def _refuse_keywords(self, schema: dict[str, Any], path: str) -> None:
        for name in schema:
            if name in _OF_DRAFT_3:
                raise SchemaRefused(under(path, name), "this keyword of draft 3 is not supported")
        if _draft_of(schema) == _UNSUPPORTED_DRAFT:
            raise SchemaRefused(under(path, "$schema"), "draft 3 is not supported")

    def _compile_patterns(self, schema: dict[str, Any], path: str) -> None:
        places = [(path, "pattern", schema.get("pattern"))]
        named = schema.get("patternProperties")
        if isinstance(named, dict):
            places += [(under(path, "patternProperties"), pattern, pattern) for pattern in named]
        for place, key, pattern in places:
            if not isinstance(pattern, str) or pattern in self._patterns:
                continue
            if self._compiles_patterns:
                self._compile_pattern(pattern, under(place, key))
            else:
                self._uncompiled.setdefault(pattern, under(place, key))

    def _compile_pattern(self, pattern: str, path: str) -> None:
        if reason := why_ambiguous(pattern):
            raise SchemaRefused(path, reason)
        try:
            self._patterns[pattern] = regex.compile(pattern, regex.VERSION0)
        except (regex.error, ValueError, OverflowError) as error:
            raise SchemaRefused(path, f"texts cannot be searched for it: {error}") from error

    def _resolved(self, reference: Any, path: str, base: str) -> Any:
        try:
            whole = base + reference if _text(reference).startswith("#") else urljoin(base, _text(reference))
            uri, fragment = urldefrag(whole)
        except ValueError as error:
            raise SchemaRefused(path, "it is not a valid reference") from error
        resource = self._resources.get(uri)
        if resource is None:
            raise SchemaRefused(path, "references to other documents are not supported")
        pointer = not fragment or fragment.startswith("/")
        target = resolve(resource, f"#{fragment}") if pointer else self._anchors.get((uri, fragment))
        if target is None:
            raise SchemaRefused(path, "it points to nothing")
        return target


def _below(schema: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any, str]]:
    """The schemas directly under one: their places, themselves, and the keyword that holds them."""
    for name, value in schema.items():
        if name in _NAMED and isinstance(value, dict):
            for key, child in value.items():
                if not (name == "dependencies" and isinstance(child, list)):
                    yield (name, key), child, name
        elif name in MANY and isinstance(value, list):
            for index, child in enumerate(value):
                yield (name, index), child, name
        elif name in _ONE:
            yield (name,), value, name


def _refuse_unjudged_format(schema: dict[str, Any], path: str) -> None:
    name = schema.get("format")
    if isinstance(name, str) and name not in JUDGED_FORMATS and "string" in schema.get("type", "string"):
        raise SchemaRefused(under(path, "format"), f"the format “{name[:64]}” is not supported here")


def _draft_of(schema: Any) -> int:
    name = _text(schema.get("$schema")) if isinstance(schema, dict) else ""
    return _DRAFTS.get(name.removesuffix("#"), _NEWEST)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
