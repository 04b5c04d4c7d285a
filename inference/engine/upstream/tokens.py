"""Counting and tokenising by the upstream engine's own endpoints, or estimates where it has none."""

import logging
from collections.abc import Mapping
from math import ceil
from typing import Any

from inference.engine.errors import GenerationFailed, UpstreamRefused
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat, Prompt
from inference.engine.upstream.answers import UNREADABLE
from inference.engine.upstream.chat import calls_of, chat_fields, shown_texts, tool_fields
from inference.engine.upstream.client import UpstreamClient, UpstreamFailure
from inference.engine.upstream.dialect import Dialect

logger = logging.getLogger(__name__)

BYTES_A_TOKEN = 3.5
"""Of English text; code and other languages have fewer."""
_TOKENS_A_MESSAGE = 4
_NO_ENDPOINT = "The engine behind this service has no endpoint that does this."


class UpstreamTokens:
    """The tokenizer of the engine, over HTTP."""

    def __init__(self, client: UpstreamClient, dialect: Dialect, *, model: str) -> None:
        self._client = client
        self._dialect = dialect
        self._model = model
        self._absent = dialect.tokenizes == "no"

    def counts(self, prompt: Prompt) -> bool:
        """Whether the engine can tell how many tokens this prompt has; otherwise it is estimated."""
        if isinstance(prompt, tuple):
            return True
        if self._absent or isinstance(prompt, str):
            return not self._absent
        counts_tools = bool(self._dialect.counted_tool_fields)
        return self._dialect.tokenizes == "chats" and (counts_tools or not prompt.tools)

    async def encode(
        self, prompt: Prompt, *, special_tokens: bool = True, grammar: Grammar | None = None
    ) -> tuple[int, ...]:
        """The tokens of the prompt; `grammar` says how its tools are called, if it has some.

        Raises:
            UpstreamRefused: the engine cannot tell them.
        """
        if isinstance(prompt, tuple):
            return prompt
        if not self.counts(prompt):
            raise UpstreamRefused(_NO_ENDPOINT)
        body: dict[str, Any] = {"model": self._model}
        if isinstance(prompt, str):
            body |= {"prompt": prompt, "add_special_tokens": special_tokens}
        else:
            body |= chat_fields(prompt, self._dialect)
            tools = tool_fields(prompt, calls_of(grammar)) or {"tools": [dict(tool) for tool in prompt.tools]}
            body |= {name: tools[name] for name in self._dialect.counted_tool_fields if tools.get(name)}
            if not prompt.add_generation_prompt:
                body["add_generation_prompt"] = False
        answer = await self._post("tokenize", body)
        try:
            return tuple(int(token_id) for token_id in answer["tokens"])
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise GenerationFailed(UNREADABLE) from error

    async def text_of(self, token_ids: tuple[int, ...]) -> str:
        """The text of tokens.

        Raises:
            UpstreamRefused: the engine cannot tell it.
        """
        if self._absent:
            raise UpstreamRefused(_NO_ENDPOINT)
        answer = await self._post("detokenize", {"model": self._model, "tokens": list(token_ids)})
        return str(answer.get("prompt", answer.get("text", "")))

    async def count_text(self, text: str) -> int | None:
        """How many tokens a generated text has; None if the engine cannot tell."""
        if self._absent:
            return None
        return len(await self.encode(text, special_tokens=False)) if text else 0

    async def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return await self._client.post(path, body)
        except UpstreamFailure as error:
            if not error.failure.absent:
                raise
            self._absent = True
            logger.warning("The engine has no /%s: the tokens of prompts are estimated.", path)
            raise UpstreamRefused(_NO_ENDPOINT) from error


def estimated_tokens(prompt: Prompt) -> int:
    """About how many tokens a prompt has."""
    if isinstance(prompt, tuple):
        return len(prompt)
    texts = list(shown_texts(prompt)) if isinstance(prompt, Chat) else [prompt]
    size = sum(len(text.encode(errors="replace")) for text in texts)
    more = _TOKENS_A_MESSAGE * len(texts) if isinstance(prompt, Chat) else 0
    if isinstance(prompt, Chat):
        size += sum(len(str(tool)) for tool in prompt.tools)
    return max(1, ceil(size / BYTES_A_TOKEN) + more)
