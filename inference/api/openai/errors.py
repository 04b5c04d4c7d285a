"""Errors as OpenAI's clients expect them: one `error` object, and the status that names the right class."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, JsonResponse
from rest_framework.exceptions import AuthenticationFailed

from accounts.codes import TOKENS_LIMIT
from llmservice.http import problems
from llmservice.http.problems import Problem, meaning_of

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
# What OpenAI calls a problem that it has as well; others keep their own codes.
CODES = {
    "prompt_too_long": "context_length_exceeded",
    "tokens_limit": "insufficient_quota",
    **dict.fromkeys(
        ("requests_limit", "concurrency_limit", "address_limit", "too_many_requests"), "rate_limit_exceeded"
    ),
}
# How the engine's errors call what is to be continued; each endpoint has its own name for it.
PROMPT_FIELDS = {"prompt", "messages"}


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
    """Django REST framework's handler for the views under `/v1`."""
    answer = problems.exception_handler(exc, context)
    problem = problems.problem_for(exc)
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if problem.code is TOKENS_LIMIT:
        headers["X-Should-Retry"] = "false"  # the official clients would wait in vain
    status = _status_of(exc, problem)
    param = problem.errors[0].field or None if problem.errors else getattr(exc, "field", None)
    if param in PROMPT_FIELDS and meaning_of(exc) is not None:
        param = getattr(context.get("view"), "prompt_field", param)
    kind = "insufficient_quota" if problem.code is TOKENS_LIMIT else type_of(status)
    code = "invalid_api_key" if status == 401 else CODES.get(problem.code.name, problem.code.name)
    error = {"message": problem.detail, "type": kind, "param": param, "code": code}
    return JsonResponse({"error": error}, status=status, headers=headers)


def type_of(status: int) -> str:
    """The `type` of an error with this status."""
    return TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _status_of(exc: Exception, problem: Problem) -> int:
    if isinstance(exc, AuthenticationFailed):
        return 401
    return 400 if problem.code.status == 422 else problem.code.status
