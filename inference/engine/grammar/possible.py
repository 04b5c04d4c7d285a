"""Which values can fit a JSON Schema, as far as that is decided by counting: whether there is any at all.

llguidance has no grammar for some keywords, such as `not` and `contains`. Texts drawn without them would be
refused one after another if no value fits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.evaluation import Evaluation, TooLong
from inference.engine.grammar.identity import identity
from inference.engine.grammar.kinds import KINDS, kind_of, of_types, taken_whole
from inference.engine.grammar.possible_counts import why_no_array, why_no_object

_MOST_VALUES = 100
_MOST_STEPS = 2000
_DEEPEST = 40
_LIMIT_S = 0.05
_FEW = frozenset({"null", "boolean"})


@dataclass(frozen=True)
class Possible:
    """The values that can fit: a value of another kind cannot.

    Attributes:
        values: all that fit, if they are few and known; otherwise a value of one of `kinds` may fit or not.
        reason: why there is none, if there is none.
    """

    kinds: frozenset[str]
    values: tuple[Any, ...] | None = None
    reason: str | None = None


_ANYTHING = Possible(KINDS)


class Search:
    """Looks for the possible values of the parts of one document.

    It never leaves out a value that fits. What takes many steps to find out is taken as possible.
    """

    def __init__(self, checked: CheckedSchema) -> None:
        self.checked = checked
        self._found: dict[int, Possible] = {}
        self._open: set[int] = set()
        self._conjunctions: dict[tuple[int, ...], Any] = {}
        self._steps = 0

    def of(self, schema: Any) -> Possible:
        """The values that can fit."""
        try:
            return self._known(schema)
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
            # A keyword of another draft may have an argument of any kind, and a schema may contain itself.
            if self._open:
                raise
            return _ANYTHING

    def any(self, schema: Any) -> bool:
        """Whether a value may fit."""
        return bool(self.of(schema).kinds)

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value fits, or it takes long to find out."""
        try:
            return Evaluation(self.checked, limit_s=_LIMIT_S).fits(schema, value)
        except (TooLong, RecursionError):
            return True

    def all_of(self, schemas: Iterable[Any]) -> Any:
        """The schema of the values that fit all of these."""
        different = {id(one): one for one in schemas if one is not True}
        if len(different) <= 1:
            return next(iter(different.values()), True)
        if False in different.values():
            return False
        return self._conjunctions.setdefault(tuple(different), {"allOf": list(different.values())})

    def conjuncts(self, schema: Any) -> list[dict[str, Any]] | None:
        """The schemas that the values of this one fit, itself included; None if one of them is false."""
        parts: dict[int, dict[str, Any]] = {}
        left = [schema]
        while left:
            one = left.pop()
            if one is False:
                return None
            if one is True or id(one) in parts:
                continue
            if "$ref" in one:
                left.append(self.checked.target(one))
                if self.checked.ignores_siblings:
                    continue
            parts[id(one)] = one
            left += reversed(one.get("allOf", ()))
        return list(parts.values())

    def _known(self, schema: Any) -> Possible:
        if isinstance(schema, bool):
            return _ANYTHING if schema else Possible(frozenset(), (), "the schema is false")
        if (found := self._found.get(id(schema))) is not None:
            return found
        self._steps += 1
        if id(schema) in self._open or len(self._open) > _DEEPEST or self._steps > _MOST_STEPS:
            return _ANYTHING
        self._open.add(id(schema))
        try:
            found = self._found[id(schema)] = self._of(schema)
        finally:
            self._open.remove(id(schema))
        return found

    def _of(self, schema: dict[str, Any]) -> Possible:
        parts = self.conjuncts(schema)
        if parts is None:
            return Possible(frozenset(), (), "one of its schemas is false")
        kinds, values, reason = KINDS, None, None
        for part in parts:
            of_part = self._of_keywords(part)
            if kinds and not kinds & of_part.kinds:
                reason = of_part.reason or "its keywords exclude each other"
            kinds &= of_part.kinds
            values = of_part.values if values is None else values
        if values is None and kinds <= _FEW:
            values = tuple(value for value in (None, True, False) if self._kind(value) in kinds)
        if values is not None:
            return self._fitting(schema, [one for one in values if self._kind(one) in kinds], reason)
        for kind, why in (("array", why_no_array), ("object", why_no_object)):
            if kind in kinds and (found := why(self, parts)) is not None:
                kinds, reason = kinds - {kind}, found
        return Possible(kinds, None if kinds else (), None if kinds else reason)

    def _of_keywords(self, part: dict[str, Any]) -> Possible:
        """By those keywords that are about any value."""
        kinds = of_types(part["type"]) if "type" in part else KINDS
        values = part.get("enum")
        if "const" in part:
            values = [part["const"]]
        for name in ("anyOf", "oneOf"):
            if name in part:
                options = [self.of(option) for option in part[name]]
                kinds &= frozenset[str]().union(*(option.kinds for option in options))
                few = [option.values for option in options if option.values is not None]
                if name == "oneOf":
                    kinds -= self._taken_twice(part[name])
                if values is None and len(few) == len(options):
                    values = [value for of_option in few for value in of_option]
        reason = None
        if "not" in part and kinds and not (kinds := kinds - taken_whole(part["not"], self.checked)):
            reason = "`not` excludes every value"
        if "if" in part:
            kinds &= self._of_if(part)
        return Possible(kinds, None if values is None else tuple(values), reason)

    def _taken_twice(self, options: list[Any]) -> frozenset[str]:
        taken = [taken_whole(option, self.checked) for option in options]
        return frozenset(kind for kind in KINDS if sum(kind in one for one in taken) > 1)

    def _of_if(self, part: dict[str, Any]) -> frozenset[str]:
        then, otherwise = (self.of(part.get(name, True)).kinds for name in ("then", "else"))
        always, possible = taken_whole(part["if"], self.checked), self.of(part["if"]).kinds
        return (then & possible) | (otherwise - always)

    def _fitting(self, schema: Any, values: list[Any], reason: str | None) -> Possible:
        different = list({identity(value): value for value in values}.values())
        if len(different) > _MOST_VALUES:
            return Possible(frozenset(map(self._kind, different)))
        fitting = tuple(value for value in different if self.fits(schema, value))
        reason = None if fitting else reason or "none of its few values fits it"
        return Possible(frozenset(map(self._kind, fitting)), fitting, reason)

    def _kind(self, value: Any) -> str:
        return kind_of(value, draft=self.checked.draft)
