"""The `response` object, as it begins, and as it ends."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.api.openai.responses.output import Output
from inference.api.openai.responses.tools import chosen, listed
from inference.engine.backend import Backend
from inference.metering import Metered


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The response to one request.

    Attributes:
        fields: the request's, which the response repeats.
    """

    fields: Mapping[str, Any]
    backend: Backend
    created_at: int = field(default_factory=lambda: int(time.time()))
    response_id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")

    def begun(self) -> dict[str, Any]:
        """The response before its text."""
        return self._response("in_progress")

    def ended(self, output: Output, metered: Metered) -> dict[str, Any]:
        """The response with its complete output, and the tokens used."""
        status, usage = output.status, metered.usage
        return self._response(
            status,
            completed_at=int(time.time()) if status == "completed" else None,
            incomplete_details={"reason": "max_output_tokens"} if status == "incomplete" else None,
            output=output.items,
            usage={
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": metered.cached_tokens, "cache_write_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
        )

    def failed(self, message: str) -> dict[str, Any]:
        """The response of a stream whose text has failed."""
        return self._response("failed", error={"code": "server_error", "message": message})

    def _response(self, status: str, **more: Any) -> dict[str, Any]:
        """The object with all its fields; `more` replaces those that depend on how far it is."""
        given = self.fields
        text_format = (given["text"] or {}).get("format")

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
            "text": {"format": {"type": "text"} if text_format is None else text_format.as_sent},
            "tools": [listed(tool) for tool in given["tools"] or ()],
            "tool_choice": "auto" if given["tool_choice"] is None else chosen(given["tool_choice"]),
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
