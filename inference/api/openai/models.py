"""`GET /v1/models`: the served model."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from inference import runtime
from inference.api.openai.schema import errors
from inference.api.openai.views import OpenAIView, check_model
from inference.engine.backend import Backend

MODEL: dict[str, Any] = {
    "id": "openai-community/gpt2-medium",
    "object": "model",
    "created": 0,
    "owned_by": "llmservice",
    "context_length": 1024,
}


def _model(backend: Backend) -> dict[str, Any]:
    return {**MODEL, "id": backend.model_name, "context_length": backend.context_length}


class ModelsView(OpenAIView):
    """Lists the served model."""

    scope = Scope.MODELS

    @extend_schema(
        operation_id="list_models",
        tags=["OpenAI"],
        summary="List the models",
        description="Returns the one model that this service serves. Needs the scope `models`.",
        responses={
            200: OpenApiResponse(
                OpenApiTypes.OBJECT,
                description="The list.",
                examples=[OpenApiExample("List", {"object": "list", "data": [MODEL]})],
            ),
            **errors(401, 403, 429, 500, 503),
        },
    )
    def get(self, request: Request) -> Response:
        return Response({"object": "list", "data": [_model(runtime.backend())]})


class ModelView(OpenAIView):
    """Describes one model."""

    scope = Scope.MODELS

    @extend_schema(
        operation_id="retrieve_model",
        tags=["OpenAI"],
        summary="Describe a model",
        description="Returns the model with this name if this service serves it. Needs the scope `models`.",
        responses={
            200: OpenApiResponse(
                OpenApiTypes.OBJECT,
                description="The model.",
                examples=[OpenApiExample("Model", MODEL)],
            ),
            **errors(401, 403, 404, 429, 500, 503),
        },
    )
    def get(self, request: Request, name: str) -> Response:
        backend = runtime.backend()
        check_model(name, backend)
        return Response(_model(backend))
