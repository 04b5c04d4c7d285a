"""The last word on a finished JSON text: `jsonschema`, within a limit of time."""

import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import regex
from jsonschema import (
    Draft7Validator,
    Draft202012Validator,
    FormatChecker,
    ValidationError,
    _legacy_keywords,
    _utils,
)
from jsonschema.validators import extend, validator_for
from referencing import Registry

from inference.engine.errors import GenerationFailed
from inference.engine.grammar.formats import CHECKED_FORMATS, PATTERNS_OF_FORMATS

_LIMIT_S = 0.1
"""The engine's thread checks; a step takes 5 to 50 ms."""

_FORMATS = FormatChecker(CHECKED_FORMATS | (set(PATTERNS_OF_FORMATS) & {"date"}) | {"ipv4", "ipv6", "uuid"})


class _TooLong(Exception):
    pass


class SchemaCheck:
    """Whether texts are JSON that fits a schema. Only one thread may use it at a time."""

    def __init__(self, schema: Any) -> None:
        kind: Any = validator_for(schema, default=Draft202012Validator)
        # Keywords that newer drafts have dropped are enforced as well: who writes one means it.
        keywords = {"dependencies": Draft7Validator.VALIDATORS["dependencies"], **kind.VALIDATORS}
        keywords |= {"pattern": _pattern, "patternProperties": _pattern_properties}
        self._deadline = 0.0
        timed = {name: self._timed(check) for name, check in keywords.items()}
        # An empty registry: a reference to another document is an error, and nothing is fetched.
        self._validator = extend(kind, timed)(schema, format_checker=_FORMATS, registry=Registry())

    def fits(self, text: str) -> bool:
        """Whether the text is JSON that fits.

        Raises:
            GenerationFailed: it takes too long to find out.
        """
        self._deadline = time.monotonic() + _LIMIT_S
        try:
            return bool(self._validator.is_valid(json.loads(text)))
        except ValueError:
            return False
        except (_TooLong, TimeoutError, RecursionError) as error:
            raise GenerationFailed("Checking the text against the schema takes too long.") from error
        except Exception as error:
            raise GenerationFailed("The text cannot be checked against the schema.") from error

    def _timed(self, check: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
        def timed(*arguments: Any) -> Iterator[ValidationError]:
            if time.monotonic() > self._deadline:
                raise _TooLong
            yield from check(*arguments) or ()

        return timed


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _found(pattern: str, text: str) -> bool:
    """Search without the unlimited backtracking of `re`, which `jsonschema` uses."""
    return regex.search(pattern, text, flags=regex.VERSION0, timeout=_LIMIT_S) is not None


# `additionalProperties` and `unevaluatedProperties` search names in these modules, with `re`.
_utils.re = _legacy_keywords.re = SimpleNamespace(search=_found)
