"""What a request asks for, in llguidance's own language."""

import json
import re
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from inference.engine.grammar.source import Grammar

# Forcing searches for text that nothing else can follow. It takes minutes for a literal of 100,000
# characters, and would choose the tokens in the model's place.
_HEADER = '%llguidance {"no_forcing": true}\n'
_OWN_HEADER = re.compile(r"^[ \t]*%llguidance\b[^\n]*$", re.MULTILINE)
_WHITESPACE = r"( |\n {0,24})"
"""Between two parts of a JSON text, at most once: enough to indent twelve levels, and it cannot run away."""


def of_rules(rules: str) -> str:
    """The grammar of these rules, the first of which is `start`."""
    return f"{_HEADER}{rules}\n"


def json_node(schema: Any, *, one_of_is_any_of: bool) -> str:
    """What stands in a rule for the texts of a JSON Schema that `relaxed_schema` has passed.

    Raises:
        ValueError: a number in it is not finite.
    """
    if isinstance(schema, dict):
        options = {"whitespace_pattern": _WHITESPACE, "coerce_one_of": one_of_is_any_of}
        schema = {"x-guidance": options, **{k: v for k, v in schema.items() if k != "x-guidance"}}
    return f"%json {json.dumps(schema, allow_nan=False)}"


def of_text(grammar: Grammar) -> str:
    """The grammar of a regular expression, choices or a grammar.

    Raises:
        ValueError: it is GBNF with a mistake.
    """
    match grammar.kind:
        case "regex":
            [one] = json.loads(LLMatcher.grammar_from_regex(grammar.source))["grammars"]
            return of_rules(str(one["lark_grammar"]))
        case "choice":
            return of_rules("start: " + " | ".join(map(json.dumps, json.loads(grammar.source))))
        case _:
            return of_rules(_OWN_HEADER.sub("", any_to_lark(grammar.source)))


def text_node(grammar: Grammar) -> str:
    """What stands in a rule for the texts of a regular expression, choices or a grammar."""
    return f"%lark {{\n{of_text(grammar)}}}"
