"""What the views of OpenAI's API answer to an exception: its error object, with the names of their fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpResponse, JsonResponse
from rest_framework.exceptions import AuthenticationFailed

from inference.engine.errors import PromptTooLong
from llmservice.http import openai_error, problems

NOT_WORTH_A_RETRY = {"tokens_limit", "time_limit"}
"""The official clients repeat what fails with their statuses, in vain or at the cost of another attempt."""


class ModelNotFound(Exception):
    """The request names a model that this service does not serve."""

    def __init__(self, name: str, *, served: str) -> None:
        self.field = "model"
        super().__init__(f"The model “{name[:64]}” does not exist: this service serves “{served}”.")


class NotStored(Exception):
    """The request names a response by its id, and this service stores none."""

    def __init__(self) -> None:
        super().__init__(
            "This service stores no responses: send the whole conversation as the `input` of a new one."
        )


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Django REST framework's handler for the views of OpenAI's API.

    The view's `prompt_fields` and `limit_fields` are the names that the endpoint has for a prompt and for the
    most tokens to generate; of each, the one that the request has is named.
    """
    answer = problems.exception_handler(exc, context)
    problem = problems.problem_for(exc)
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if problem.code.name in NOT_WORTH_A_RETRY:
        headers["X-Should-Retry"] = "false"
    refused = isinstance(exc, AuthenticationFailed)
    status = 401 if refused else openai_error.status_of(problem.code)
    message, param = problem.detail, problem.field_name or getattr(exc, "field", None)
    meaning = problems.meaning_of(exc)
    if meaning is not None and meaning.field == "prompt":
        param = _sent(context, "prompt_fields") or meaning.field
        message = f"{param}: {exc}"
        if isinstance(exc, PromptTooLong):
            message = _too_long(exc, prompt=param, limit=_sent(context, "limit_fields"))
    return JsonResponse(
        openai_error.error_object(problem.code, message, status=status, param=param),
        status=status,
        headers=headers,
    )


def _sent(context: Mapping[str, Any], fields: str) -> str | None:
    """The first of the view's fields that the request has; null is absence."""
    names: Sequence[str] = getattr(context.get("view"), fields, ())
    data = context["request"].data
    return next((name for name in names if data.get(name) is not None), None)


def _too_long(error: PromptTooLong, *, prompt: str, limit: str | None) -> str:
    # Clients look for the first words, which are OpenAI's.
    bound = "at least " if error.at_least else ""
    total = error.prompt_tokens + error.max_new_tokens
    return (
        f"This model's maximum context length is {error.limit} tokens, and the request needs {bound}{total}: "
        f"{bound}{error.prompt_tokens} for {prompt} and {error.max_new_tokens} for {limit or 'the answer'}."
    )
