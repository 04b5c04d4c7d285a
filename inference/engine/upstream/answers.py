"""What an answer of the upstream engine that is no stream stands for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from inference.engine.errors import (
    EngineError,
    GenerationFailed,
    Overloaded,
    Unavailable,
    UpstreamRefused,
    UpstreamSilent,
)
from inference.engine.fair_queue import LONGEST_RETRY_S

DEFAULT_RETRY_S = 5
_LONGEST_MESSAGE = 500
_MOST_DIGITS = 9

UNREACHABLE = "The engine behind this service cannot be reached; try again shortly."
NOT_READY = (
    "The engine behind this service does not generate now: it is starting or ending; try again shortly."
)
KEY_REFUSED = "The engine behind this service refuses its key: LLM_UPSTREAM_API_KEY has to be corrected."
NO_MODEL = "The engine behind this service does not serve its model: LLM_UPSTREAM_MODEL has to be corrected."
UNREADABLE = "The answer of the engine behind this service could not be read."


@dataclass(frozen=True)
class Failure:
    """A failed attempt.

    Attributes:
        error: what the client is told.
        again: a second attempt may succeed, for example because a balancer chooses another engine.
        broken: the engine did not work, as opposed to a refusal or overload; the breaker counts it.
        misconfigured: nothing works until an operator corrects a setting.
        absent: there is nothing at the address.
    """

    error: EngineError
    again: bool = False
    broken: bool = False
    misconfigured: bool = False
    absent: bool = False


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that an answer with this status stands for."""
    described = _described(body)
    message, param = described.get("message"), described.get("param")
    told = message[:_LONGEST_MESSAGE] if isinstance(message, str) else ""
    code = described.get("code")
    if code == "model_not_found" or status == HTTPStatus.NOT_FOUND:
        return Failure(Unavailable(NO_MODEL), misconfigured=True, absent=status == HTTPStatus.NOT_FOUND)
    if status == HTTPStatus.SERVICE_UNAVAILABLE and (
        code == "unavailable" or described.get("type") == "unavailable_error"
    ):
        return Failure(Unavailable(NOT_READY), again=True)
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Failure(Unavailable(KEY_REFUSED), misconfigured=True)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            return Failure(Overloaded(retry_after_s=_retry_after_s(headers)))
        case HTTPStatus.BAD_GATEWAY:
            return Failure(Unavailable(UNREACHABLE), again=True, broken=True)
        case HTTPStatus.GATEWAY_TIMEOUT:
            silent = UpstreamSilent("The engine behind this service did not answer in time.")
            return Failure(silent, broken=code != "time_limit")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        field = param if isinstance(param, str) else None
        return Failure(UpstreamRefused(told or f"The engine refuses the request ({status}).", field=field))
    if status < HTTPStatus.BAD_REQUEST:
        return Failure(GenerationFailed(UNREADABLE), broken=True)
    return Failure(GenerationFailed("The engine behind this service failed on this request."))


def failure_in_stream(described: Any) -> Failure:
    """The failure that an error object in a stream stands for."""
    error = described if isinstance(described, Mapping) else {}
    code = error.get("code")
    statuses = {"overloaded": 503, "unavailable": 503, "interrupted": 502, "time_limit": 504}
    status = code if isinstance(code, int) else statuses.get(str(code), 500)
    return failure_of(status, {}, json.dumps({"error": error}).encode())


def json_object(content: bytes) -> Mapping[str, Any] | None:
    """The JSON object that the content is; None if it is anything else."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, Mapping) else None


def _described(body: bytes) -> Mapping[str, Any]:
    """The error object in a body, if there is one."""
    parsed = json_object(body) or {}
    error = parsed.get("error", parsed)
    return error if isinstance(error, Mapping) else {}


def _retry_after_s(headers: Mapping[str, str]) -> int:
    text = headers.get("Retry-After", "")
    readable = text.isdecimal() and len(text) <= _MOST_DIGITS
    return min(LONGEST_RETRY_S, max(1, int(text))) if readable else DEFAULT_RETRY_S
