"""Errors as OpenAI's clients expect them: one `error` object, at the addresses of its API.

gunicorn's main process imports this module, so it must not import Django.
"""

from llmservice.http.codes import Code

OTHER_ADDRESSES = {"/v1", "/tokenize", "/detokenize"}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
QUOTA = "insufficient_quota"
# What OpenAI calls a problem that it has as well; others keep their own codes.
CODES = {
    "prompt_too_long": "context_length_exceeded",
    "tokens_limit": QUOTA,
    **dict.fromkeys(("key_missing", "key_invalid"), "invalid_api_key"),
    **dict.fromkeys(
        ("requests_limit", "concurrency_limit", "address_limit", "too_many_requests"), "rate_limit_exceeded"
    ),
}

ErrorObject = dict[str, dict[str, str | None]]


def is_form_of(path: str) -> bool:
    """Whether errors at this address have OpenAI's form; elsewhere they are problem documents."""
    return path.startswith("/v1/") or path in OTHER_ADDRESSES


def status_of(code: Code) -> int:
    """The status for which the official clients raise the right class: a wrong field is a 400."""
    return 400 if code.status == 422 else code.status


def type_of(status: int) -> str:
    """The `type` of an error with this status."""
    return TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_object(code: Code, message: str, *, status: int, param: str | None = None) -> ErrorObject:
    """The body of an error.

    Args:
        status: of the answer, which may differ from the code's own.
        param: the field that it is about.
    """
    name = CODES.get(code.name, code.name)
    kind = name if name == QUOTA else type_of(status)
    return {"error": {"message": message, "type": kind, "param": param, "code": name}}
