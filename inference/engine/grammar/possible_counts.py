"""Arrays and objects that cannot be, because of how many items or properties they would have."""

from collections.abc import Callable, Iterator
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any

from inference.engine.grammar.identity import identity
from inference.engine.grammar.kinds import taken_whole

if TYPE_CHECKING:
    from inference.engine.grammar.possible import Search

_MOST_PLACES = 50
_MOST_NAMES = 200

Parts = list[dict[str, Any]]
"""Schemas each of which a value has to fit."""


def why_no_array(search: "Search", parts: Parts) -> str | None:
    """Why no array fits; None if one may."""
    return _Arrays(search, parts).why_none()


def why_no_object(search: "Search", parts: Parts) -> str | None:
    """Why no object fits; None if one may."""
    return _Objects(search, parts).why_none()


class _Arrays:
    def __init__(self, search: "Search", parts: Parts) -> None:
        self._search = search
        self._parts = parts
        different = max(map(_places, parts), default=0)
        places = min(different, _MOST_PLACES)
        self._first = [self._place(index) for index in range(places)]
        self._rest = self._place(places) if places == different else True
        self._least, self._most = _bounds(parts, "minItems", "maxItems")
        possible = len(list(takewhile(search.any, self._first)))
        if possible < places or not search.any(self._rest):
            self._most = min(self._most, possible)
        self._unique = any(part.get("uniqueItems") is True for part in parts)

    def why_none(self) -> str | None:
        if self._least > self._most:
            return f"it must have {self._least:g} or more items, and can have {self._most:g} at most"
        if self._unique and (different := self._different()) < self._least:
            return (
                f"its items must differ, and of the {self._least:g} that it must have at least, "
                f"only {different:g} can"
            )
        contained = (self._why_not_contained(part) for part in self._parts if "contains" in part)
        return next(filter(None, contained), None)

    def _different(self) -> float:
        """How many of the items that there must be can differ, at most."""
        first = self._first[: int(min(self._least, len(self._first)))]
        values = set()
        for place in [*first, *([self._rest] if self._least > len(first) else [])]:
            possible = self._search.of(place).values
            if possible is None:
                return inf
            values |= set(map(identity, possible))
        return len(values)

    def _why_not_contained(self, part: dict[str, Any]) -> str | None:
        contained, counted = part["contains"], self._search.checked.draft > 7
        least = part.get("minContains", 1) if counted else 1
        most = part.get("maxContains", inf) if counted else inf
        possible = min(most, self._count(self._most, lambda place: self._both(place, contained)))
        if self._unique and (values := self._search.of(contained).values) is not None:
            possible = min(possible, len(values))
        if least > possible:
            return f"`contains` must match {least:g} or more items, and can match {possible:g} at most"
        taken = taken_whole(contained, self._search.checked)
        certain = self._count(self._least, lambda place: self._search.of(place).kinds <= taken)
        if certain > most:
            return f"`contains` must match {most:g} items at most, and matches {certain:g} or more"
        return None

    def _both(self, place: Any, contained: Any) -> bool:
        return self._search.any(self._search.all_of([place, contained]))

    def _count(self, length: float, holds: Callable[[Any], bool]) -> float:
        """For how many places of an array of this length something holds."""
        first = self._first[: int(min(length, len(self._first)))]
        rest = length - len(first)
        return sum(map(holds, first)) + (rest if rest and holds(self._rest) else 0)

    def _place(self, index: int) -> Any:
        """What the item at a place has to fit."""
        return self._search.all_of([one for part in self._parts for one in _at(part, index)])


class _Objects:
    def __init__(self, search: "Search", parts: Parts) -> None:
        self._search = search
        self._parts = parts
        self._required: dict[str, None] = {}

    def why_none(self) -> str | None:
        if why := self._require():
            return why
        least, most = _bounds(self._parts, "minProperties", "maxProperties")
        least = max(least, len(self._required))
        if least > most:
            return f"it must have {least:g} or more properties, and can have {most:g} at most"
        for name in self._required:
            if not self._may_come(name):
                return f"the property “{name[:64]}” is required, and can have no value"
        if least and (names := self._names()) is not None:
            possible = sum(map(self._may_come, names)) if len(names) <= _MOST_NAMES else len(names)
            if possible < least:
                return f"it must have {least:g} or more properties, and can have {possible} at most"
        if any(self._excludes_required(part.get("not")) for part in self._parts):
            return "`not` excludes what it requires"
        return None

    def _require(self) -> str | None:
        """Find the properties that there must be, and the schemas that they bring along."""
        before = (-1, -1)
        while before != (now := (len(self._parts), len(self._required))):
            before = now
            for part in self._parts:
                self._required |= dict.fromkeys(part.get("required", ()))
            for name in list(self._required):
                for demand in self._demands(name):
                    if isinstance(demand, list):
                        self._required |= dict.fromkeys(demand)
                    elif "object" in self._search.of(demand).kinds:
                        self._add(self._search.conjuncts(demand) or [])
                    else:
                        return f"the property “{name[:64]}” is required, and no object with it fits"
        return None

    def _add(self, parts: Parts) -> None:
        known = set(map(id, self._parts))
        self._parts = [*self._parts, *(part for part in parts if id(part) not in known)]

    def _demands(self, name: str) -> list[Any]:
        keywords = ("dependentRequired", "dependentSchemas", "dependencies")
        return [part[word][name] for part in self._parts for word in keywords if name in part.get(word, ())]

    def _names(self) -> list[str] | None:
        """The names that properties can have, and others that they cannot; None if nothing bounds them."""
        for part in self._parts:
            names = self._search.of(part.get("propertyNames", True))
            if names.values is not None:
                return [name for name in names.values if isinstance(name, str)]
            if "string" not in names.kinds:
                return []
            if not part.get("patternProperties") and not self._search.any(
                part.get("additionalProperties", True)
            ):
                return list(part.get("properties", ()))
        return None

    def _may_come(self, name: str) -> bool:
        """Whether there may be a property of this name."""
        if not all(self._search.fits(part.get("propertyNames", True), name) for part in self._parts):
            return False
        values = [one for part in self._parts for one in self._values(part, name)]
        return self._search.any(self._search.all_of(values))

    def _values(self, part: dict[str, Any], name: str) -> Iterator[Any]:
        """The schemas of a part that the value of a property has to fit."""
        found = [
            one for pattern, one in part.get("patternProperties", {}).items() if self._matches(pattern, name)
        ]
        yield from found
        if name in part.get("properties", ()):
            yield part["properties"][name]
        elif not part.get("patternProperties"):
            yield part.get("additionalProperties", True)

    def _matches(self, pattern: str, name: str) -> bool:
        return not self._search.fits({"not": {"pattern": pattern}}, name)

    def _excludes_required(self, excluded: Any) -> bool:
        """Whether every object with the required properties fits what may not be."""
        return (
            isinstance(excluded, dict)
            and bool(excluded)
            and excluded.keys() <= {"required", "type"}
            and "object" in excluded.get("type", "object")
            and set(excluded.get("required", ())) <= self._required.keys()
        )


def _bounds(parts: Parts, least: str, most: str) -> tuple[float, float]:
    """What the keywords of these names demand together."""
    return (
        max((part.get(least, 0) for part in parts), default=0),
        min((part.get(most, inf) for part in parts), default=inf),
    )


def _places(part: dict[str, Any]) -> int:
    """How many places of an array have schemas of their own."""
    items = part.get("items")
    return max(len(part.get("prefixItems", ())), len(items) if isinstance(items, list) else 0)


def _at(part: dict[str, Any], index: int) -> Iterator[Any]:
    """The schemas of a part that the item at a place has to fit."""
    first, items = part.get("prefixItems", ()), part.get("items", True)
    if index < len(first):
        yield first[index]
    if isinstance(items, list):
        yield items[index] if index < len(items) else part.get("additionalItems", True)
    elif index >= len(first):
        yield items
