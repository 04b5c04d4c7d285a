"""The errors of `/v1` in the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from inference.api.served_model import SERVED_MODEL
from llmservice.http.openai_error import type_of

EXAMPLES = {
    400: ("A field is invalid, unknown or not supported.", "Must be at most 2.0.", "temperature", None),
    401: (
        "The API key is missing, unknown, expired, disabled or revoked.",
        "Invalid API key.",
        None,
        "invalid_api_key",
    ),
    403: ("The API key may not be used for this.", "This API key lacks the scope “generate”.", None, None),
    404: (
        "The model does not exist.",
        f"The model “gpt-4o” does not exist: this service serves “{SERVED_MODEL}”.",
        "model",
        "model_not_found",
    ),
    413: (
        "The body is too large, or has too many lists, objects and names.",
        "The body is larger than the 1048576 bytes that are accepted.",
        None,
        None,
    ),
    415: (
        "The body is not declared as JSON.",
        "Send the body with the header Content-Type: application/json.",
        None,
        None,
    ),
    429: (
        "A limit of the API key does not allow this request now.",
        "This API key may make 60 requests a minute, 60 at once: try again in 1 second.",
        None,
        "rate_limit_exceeded",
    ),
    500: (
        "The service failed on this request.",
        "The service failed on this request; its log says why.",
        None,
        None,
    ),
    503: ("The service cannot answer now but will later.", "The model is loading.", None, None),
    504: (
        "The text was not ready within the time limit.",
        "The request exceeded its time limit and was stopped.",
        None,
        None,
    ),
}


class OpenAIErrorDetailSerializer(serializers.Serializer[Any]):
    """What is wrong."""

    message = serializers.CharField(help_text="The reason, in a sentence.")
    type = serializers.CharField(help_text="The kind of error.")
    param = serializers.CharField(allow_null=True, help_text="The field that the error is about.")
    code = serializers.CharField(allow_null=True, help_text="A stable name of the error.")


class OpenAIErrorSerializer(serializers.Serializer[Any]):
    """An error as OpenAI's API has it."""

    error = OpenAIErrorDetailSerializer()


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """The `responses` of `extend_schema` for these error statuses."""
    return {status: _response(status) for status in statuses}


def _response(status: int) -> OpenApiResponse:
    description, message, param, code = EXAMPLES[status]
    value = {"error": {"message": message, "type": type_of(status), "param": param, "code": code}}
    example = OpenApiExample(f"Error {status}", value, status_codes=[status])
    return OpenApiResponse(OpenAIErrorSerializer, description=description, examples=[example])
