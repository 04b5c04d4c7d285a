"""What a request asks its text to fit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["json_schema", "json_object", "regex", "choice", "grammar", "calls"]


@dataclass(frozen=True)
class Grammar:
    """A language; the text of a request is one of its words.

    Attributes:
        source: a JSON Schema or a list of choices as JSON, a regular expression, a grammar in Lark's syntax
            or GBNF, or `Calls` as JSON.
        field: the field of the request that holds it, for messages.
    """

    kind: Kind
    source: str
    field: str

    @classmethod
    def of_schema(cls, schema: Mapping[str, object] | bool, *, field: str) -> "Grammar":
        """Texts that are JSON and fit the schema; the properties come in the schema's order."""
        return cls("json_schema", json.dumps(schema, ensure_ascii=False), field)

    @classmethod
    def of_objects(cls, *, field: str) -> "Grammar":
        """Texts that are a JSON object."""
        return cls("json_object", '{"type": "object"}', field)

    @classmethod
    def of_choices(cls, choices: Sequence[str], *, field: str) -> "Grammar":
        """One of the texts."""
        return cls("choice", json.dumps(choices, ensure_ascii=False), field)

    @property
    def is_json(self) -> bool:
        """Whether its texts are JSON."""
        return self.kind in {"json_schema", "json_object"}


def schema_of(grammar: Grammar) -> Any:
    """The JSON Schema that the texts of the grammar fit; None if they need not be JSON."""
    return json.loads(grammar.source) if grammar.is_json else None
