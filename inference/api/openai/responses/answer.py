"""The `response` object, as it begins, and as it ends."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.api.openai.logprobs import ChatLogprobs
from inference.engine.backend import Backend
from inference.engine.generation import Completion

ENDED = {"stop": "completed", "length": "incomplete"}
"""The status of a response for the reason why its text ends."""


def _number() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The response to one request.

    Attributes:
        fields: the request's, which the response repeats.
        item_id: of the one item of its output, a message.
    """

    fields: Mapping[str, Any]
    backend: Backend
    created_at: int = field(default_factory=lambda: int(time.time()))
    response_id: str = field(default_factory=lambda: f"resp_{_number()}")
    item_id: str = field(default_factory=lambda: f"msg_{_number()}")

    def begun(self) -> dict[str, Any]:
        """The response before its text."""
        return self._response("in_progress")

    def ended(self, completion: Completion, usage: Mapping[str, int]) -> dict[str, Any]:
        """The response with its text; `usage` is that of `Metered`."""
        status = ENDED[completion.finish_reason]
        return self._response(
            status,
            completed_at=int(time.time()) if status == "completed" else None,
            incomplete_details={"reason": "max_output_tokens"} if status == "incomplete" else None,
            output=[
                self.item(
                    status, [self.part(completion.text, self.logprobs().of(completion.as_event())["content"])]
                )
            ],
            usage={
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
        )

    def failed(self, message: str) -> dict[str, Any]:
        """The response of a stream whose text has failed."""
        return self._response("failed", error={"code": "server_error", "message": message})

    def item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The message."""
        return {
            "id": self.item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def part(self, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        """The one part of the message."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def logprobs(self) -> ChatLogprobs:
        """Those of its text, to be read from the first event on."""
        return ChatLogprobs(self.backend)

    def _response(self, status: str, **more: Any) -> dict[str, Any]:
        """The object with all its fields; `more` replaces those that depend on how far it is."""
        given = self.fields

        def or_default(name: str, default: Any) -> Any:
            return default if given[name] is None else given[name]

        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": self.backend.model_name,
            "system_fingerprint": self.backend.fingerprint,
            "output": [],
            "instructions": given["instructions"],
            "max_output_tokens": given["max_output_tokens"],
            "metadata": or_default("metadata", {}),
            "temperature": or_default("temperature", 1.0),
            "top_p": or_default("top_p", 1.0),
            "top_logprobs": or_default("top_logprobs", 0),
            "text": {"format": {"type": "text"}},
            "tools": [],
            "tool_choice": or_default("tool_choice", "auto"),
            "parallel_tool_calls": or_default("parallel_tool_calls", True),
            "max_tool_calls": None,
            "truncation": "disabled",
            "store": False,
            "background": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": given["safety_identifier"],
            "prompt_cache_key": given["prompt_cache_key"],
            # OpenAI's document has no null for it.
            **({} if given["user"] is None else {"user": given["user"]}),
            **more,
        }
