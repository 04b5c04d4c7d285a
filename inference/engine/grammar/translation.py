"""A grammar of a request, checked and put into llguidance's language: what takes long, or might never end.

`trial` runs it in a process of its own, under limits.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from inference.engine.grammar import llguidance_grammar
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.paths import SchemaRefused, under
from inference.engine.grammar.possible import Search
from inference.engine.grammar.relaxed_schema import Relaxed, relax
from inference.engine.grammar.satisfiable import check_satisfiable
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable, parser_limits
from inference.engine.grammar.well_formed import check_well_formed

_TRIAL_TOKENS = {True: 12, False: 96}
"""Tokens of the texts that are tried out, of JSON and of others. Grammars in Lark's syntax can be ambiguous,
and then each token takes longer than the one before."""
_TRIAL_TEXTS = 4
"""One may end too soon to tell: an empty object says nothing about a thousand properties."""
_MOST_SEARCHED = 100
_PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")
"""In the grammar that a schema becomes, which no client knows."""
_NOTHING_FITS = "no text satisfies it"
_TOO_COMPLEX = "its texts are too complex to follow"


@dataclass(frozen=True)
class Translation:
    """A grammar in llguidance's language.

    Attributes:
        checked: a text of it may not be one of the request's grammar, and is checked when it ends.
    """

    grammar: str
    checked: bool = False


class Progress:
    """Learns how far a grammar has come, in this order, and here ignores it."""

    def compiled(self, translation: Translation) -> None:
        """It can be compiled, but may yet be refused."""

    def judged(self) -> None:
        """Finished texts can be checked by its schemas."""

    def followed(self) -> None:
        """Texts of it have been followed, and what that took is still allocated."""


@dataclass(frozen=True)
class _Node:
    """What stands for a JSON Schema in a rule; `checked` as in `Translation`.

    Attributes:
        matcher: of the schema alone.
    """

    text: str
    checked: bool
    matcher: LLMatcher

    @property
    def translation(self) -> Translation:
        """The grammar of the schema alone."""
        return Translation(llguidance_grammar.of_rules(f"start: {self.text}"), self.checked)


def translate(
    grammar: Grammar, table: TokenTable, *, nesting: int, states: int, progress: Progress | None = None
) -> Translation:
    """Translate a grammar, compile it, and try it out.

    Raises:
        SchemaRefused: it cannot be enforced.
    """
    progress = progress or Progress()

    def node_of(source: str, compiled: Callable[[_Node], None] = lambda _: None) -> _Node:
        return _of_schema(source, table, nesting=nesting, states=states, compiled=compiled)

    control_id: int | None = None
    if grammar.is_json:
        node = node_of(grammar.source, lambda node: progress.compiled(node.translation))
        translation, matcher = node.translation, node.matcher
    else:
        if grammar.kind == "calls":
            calls = Calls.parse(grammar.source)
            control_id = calls.tool_format.control_id
            translation = _of_calls(calls, node_of)
        else:
            translation = _of_text(grammar)
        matcher = compile_matcher(translation.grammar, table.llguidance, states=states)
        if matcher.is_error():
            raise SchemaRefused("$", _reason(matcher.get_error(), grammar.source))
        progress.compiled(translation)
    progress.judged()
    _try_out(matcher, table, tokens=_TRIAL_TOKENS[grammar.is_json], control_id=control_id)
    progress.followed()
    return translation


def compile_matcher(text: str, tokenizer: LLTokenizer, *, states: int) -> LLMatcher:
    """Compile; a matcher of a grammar that cannot be compiled says why in `get_error`."""
    return LLMatcher(tokenizer, text, log_level=0, limits=parser_limits(states=states))


def _of_text(grammar: Grammar) -> Translation:
    try:
        return Translation(llguidance_grammar.of_text(grammar))
    except Exception as error:
        raise SchemaRefused("$", _first_line(str(error))) from error


def _of_calls(calls: Calls, node_of: Callable[[str], _Node]) -> Translation:
    nodes = []
    for path, schema in zip(calls.paths, calls.arguments.values(), strict=True):
        try:
            nodes.append(node_of(json.dumps(schema)))
        except SchemaRefused as error:
            raise SchemaRefused(f"${path}{error.path.removeprefix('$')}", error.reason) from error
    checked = any(node.checked for node in nodes)
    text = None
    if calls.text is not None:
        if calls.text.is_json:
            of_text = node_of(calls.text.source)
            text, checked = of_text.text, checked or of_text.checked
        else:
            text = llguidance_grammar.text_node(calls.text)
        checked = checked or _may_begin(text, calls.beginnings)
    return Translation(
        llguidance_grammar.of_rules(calls.rules([node.text for node in nodes], text=text)), checked
    )


def _may_begin(node: str, beginnings: Sequence[str]) -> bool:
    """Whether a text of the node may begin in one of these ways."""
    matcher = LLMatcher(LLTokenizer("byte"), llguidance_grammar.of_rules(f"start: {node}"), log_level=0)
    for beginning in beginnings:
        matcher.reset()
        wanted = list(beginning.encode())
        if matcher.try_consume_tokens(wanted) == len(wanted):
            return True
    return False


def _of_schema(
    source: str, table: TokenTable, *, nesting: int, states: int, compiled: Callable[[_Node], None]
) -> _Node:
    """Compile a schema first, because the worker waits for that, and then find out whether it is one."""
    schema = json.loads(source)
    try:
        checked = CheckedSchema(schema, nesting=nesting, patterns=False)
        node = _compiled(source, checked, table, nesting=nesting, states=states)
    except BaseException:
        # What is no schema fails in any way, and is refused by its first mistake.
        check_well_formed(schema)
        CheckedSchema(schema, nesting=nesting)
        raise
    compiled(node)
    check_well_formed(schema)
    checked.compile_patterns()
    return node


def _compiled(
    source: str, checked_schema: CheckedSchema, table: TokenTable, *, nesting: int, states: int
) -> _Node:
    count_properties, one_of_is_any_of, bounds_values = True, False, True
    search = Search(checked_schema)
    while True:
        relaxed = relax(
            json.loads(source),
            search,
            nesting=nesting,
            count_properties=count_properties,
            bounds_values=bounds_values,
        )
        check_satisfiable(relaxed)
        checked_schema.check_ends()
        try:
            node = llguidance_grammar.json_node(relaxed.schema, one_of_is_any_of=one_of_is_any_of)
        except ValueError as beyond:
            raise SchemaRefused("$", "a number in it is larger than any floating-point number") from beyond
        text = llguidance_grammar.of_rules(f"start: {node}")
        matcher = compile_matcher(text, table.llguidance, states=states)
        error = matcher.get_error()
        if not error:
            checked = relaxed.checked or one_of_is_any_of or not count_properties
            return _Node(node, checked, matcher)
        if "oneOf constraints" in error and not one_of_is_any_of:
            one_of_is_any_of = True
        elif "min/maxProperties" in error and count_properties:
            count_properties = False
        elif bounds_values and relaxed.impossible and search.any(checked_schema.root):
            # A part that nothing fits must not refuse a schema that can do without it.
            bounds_values = False
        else:
            raise _located(relaxed, error, table, states=states)


def _located(relaxed: Relaxed, error: str, table: TokenTable, *, states: int) -> SchemaRefused:
    """The error with the path of the smallest part of the schema that has it too."""
    root = relaxed.schema
    shared = {}
    if isinstance(root, dict):
        shared = {name: root[name] for name in ("$schema", "$defs", "definitions") if name in root}
    path, schema, searched = "$", root, 0
    descending = True
    while descending:
        descending = False
        for place, child in relaxed.children.get(id(schema), ()):
            searched += 1
            if searched > _MOST_SEARCHED or not isinstance(child, dict | bool) or ".$defs" in place:
                continue
            if id(schema) in relaxed.impossible and not _is_why(child, schema, relaxed):
                continue
            alone = {**shared, **child} if isinstance(child, dict) else child
            node = llguidance_grammar.json_node(alone, one_of_is_any_of=True)
            text = llguidance_grammar.of_rules(f"start: {node}")
            found = compile_matcher(text, table.llguidance, states=states).get_error()
            if found and ("Unsatisfiable" in found) == ("Unsatisfiable" in error):
                path, schema, error, descending = place, child, found, True
                break
    if reason := relaxed.impossible.get(id(schema)):
        return SchemaRefused(path, f"{_NOTHING_FITS}: {reason}")
    pattern = schema.get("pattern") if isinstance(schema, dict) else None
    if isinstance(pattern, str) and "regex" in error:
        return SchemaRefused(under(path, "pattern"), _reason(error, pattern))
    return SchemaRefused(path, _reason(error, ""))


def _is_why(part: Any, schema: dict[str, Any], relaxed: Relaxed) -> bool:
    """Whether nothing fits a schema because nothing fits this part of it."""
    properties = schema.get("properties", {})
    needed = [properties.get(name) for name in schema.get("required", ())]
    needed += [
        schema.get("items"),
        *(one for name in ("allOf", "anyOf", "oneOf") for one in schema.get(name, ())),
    ]
    return id(part) in relaxed.impossible and any(part is one for one in needed)


def _reason(error: str, pattern: str) -> str:
    """llguidance's message as a reason."""
    if "look-around" in error:
        return "look-behind is not supported" if "(?<" in pattern else "look-ahead is not supported"
    if "backreferences" in error:
        return "back-references are not supported"
    if "Unsatisfiable schema: " in error:
        return f"{_NOTHING_FITS}: {_first_line(error.split('Unsatisfiable schema: ', 1)[1])}"
    if "\nerror: " in error:
        return _first_line(error.split("\nerror: ", 1)[1])
    if "too big" in error or "too large" in error or "fuel" in error:
        return f"it is too large to compile ({_first_line(error)})"
    return _first_line(error)


def _first_line(text: str) -> str:
    [line, *_] = text.strip().splitlines() or ["it is invalid"]
    return _PLACE.sub("", line)[:300]


def _try_out(matcher: LLMatcher, table: TokenTable, *, tokens: int, control_id: int | None) -> None:
    """Follow texts of tokens drawn at random, so that what takes too long does so here."""
    mask = table.new_masks(1)
    draw = random.Random(0)  # noqa: S311
    position, texts = 0, 1
    for _ in range(tokens):
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        [read] = table.read(mask, [control_id])
        ids = read.tokens.ids
        if not len(ids) and (matcher.is_stopped() or read.ends) and (position or read.ends):
            if texts == _TRIAL_TEXTS:
                return
            position, texts = 0, texts + 1
            matcher.reset()
            continue
        if not len(ids):
            limit = position or "too" in matcher.get_error()
            raise SchemaRefused("$", _TOO_COMPLEX if limit else _NOTHING_FITS)
        matcher.consume_token(int(ids[draw.randrange(len(ids))]))
        position += 1
        if matcher.is_error():
            raise SchemaRefused("$", _TOO_COMPLEX)
