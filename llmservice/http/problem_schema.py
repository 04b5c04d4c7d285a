"""How the OpenAPI document describes the errors of `llmservice.http.problems`."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema_serializer
from rest_framework import serializers

from llmservice.http import codes
from llmservice.http.problems import CONTENT_TYPE


class FieldErrorSerializer(serializers.Serializer[Any]):
    field = serializers.CharField(
        help_text="The name of the field, such as `stop[0]` for an item of a list; empty for the whole body."
    )
    detail = serializers.CharField(help_text="What is wrong with it.")


class CodeField(serializers.ChoiceField):
    """A choice of all codes that have been declared by the time the field is used."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[code.name for code in codes.declared()], **kwargs)


@extend_schema_serializer(component_name="Problem")
class ProblemSerializer(serializers.Serializer[Any]):
    """Why a request failed (RFC 9457)."""

    type = serializers.CharField(help_text="`about:blank`: the problem is what the status says.")
    title = serializers.CharField(help_text="The status in words.")
    status = serializers.IntegerField(help_text="The HTTP status.")
    code = CodeField(help_text="The kind of the problem, for programs; later versions may add others.")
    detail = serializers.CharField(help_text="What went wrong with this request, in a sentence for people.")
    errors = FieldErrorSerializer(  # type: ignore[assignment]
        many=True, required=False, help_text="Each invalid field; with status 422 only."
    )


# What each status means, and an example of `code` and `detail`.
MEANING = {
    400: (
        "The body is not JSON, or the request is malformed.",
        "invalid_json",
        "The body is not valid UTF-8, as JSON must be.",
    ),
    403: (
        "The API key is missing, unknown, expired, disabled or revoked, or may not be used for this or from "
        "this address.",
        "key_invalid",
        "Invalid API key.",
    ),
    409: (
        "The present state of the key does not allow the change.",
        "secret_not_newest",
        "A newer secret has replaced this one: only the newest secret of a key can rotate it.",
    ),
    413: (
        "The body is too large, or has too many lists, objects and names.",
        "body_too_large",
        "The body is larger than the 1048576 bytes that are accepted.",
    ),
    415: (
        "The body is not declared as JSON.",
        "unsupported_media_type",
        "Send the body with the header Content-Type: application/json, not as text/plain.",
    ),
    422: (
        "A field is invalid or unknown, or the request is larger than the model's context or than the key's "
        "tokens of a day.",
        "invalid_fields",
        "",
    ),
    429: (
        "A limit of the API key does not allow this request now, or this address has tried too many wrong "
        "keys.",
        "requests_limit",
        "This API key may make 60 requests a minute, 60 at once: try again in 1 second.",
    ),
    500: (
        "The service failed on this request.",
        "internal_error",
        "The service failed on this request; its log says why.",
    ),
    503: (
        "The service cannot answer now but will later: the model is loading, the queue is full, "
        "the service is stopping, or the database is away.",
        "unavailable",
        "The model is loading.",
    ),
    504: (
        "The text was not ready within the time limit.",
        "time_limit",
        "The request exceeded its time limit and was stopped.",
    ),
}
INVALID = [
    {"field": "temperature", "detail": "Must be at most 2.0."},
    {"field": "max_tokens", "detail": "Unknown field; did you mean max_new_tokens?"},
]


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """The `responses` of `extend_schema` for these error statuses."""
    return {(status, CONTENT_TYPE): _response(status) for status in statuses}


def _response(status: int) -> OpenApiResponse:
    description, code, detail = MEANING[status]
    title = HTTPStatus(status).phrase
    value: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "code": code}
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        value |= {"detail": " ".join(f"{e['field']}: {e['detail']}" for e in INVALID), "errors": INVALID}
    else:
        value |= {"detail": detail}
    example = OpenApiExample(title, value, media_type=CONTENT_TYPE, status_codes=[status])
    return OpenApiResponse(ProblemSerializer, description=description, examples=[example])
