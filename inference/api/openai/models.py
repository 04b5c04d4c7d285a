"""`GET /v1/models`: the served model."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from inference import runtime
from inference.api.openai.answer_schema import ConstantField
from inference.api.openai.schema import errors
from inference.api.openai.views import OpenAIView, check_model
from inference.api.served_model import SERVED_MODEL, ServedModelField
from inference.engine.backend import Backend

MODEL: dict[str, Any] = {
    "id": SERVED_MODEL,
    "object": "model",
    "created": 0,
    "owned_by": "llmservice",
    "context_length": 1024,
}


class ModelSerializer(serializers.Serializer[Any]):
    """A model that is served."""

    id = ServedModelField(help_text="Its name, for the field `model` of a request.")
    object = ConstantField("model", help_text="The kind of the object.")
    created = serializers.IntegerField(min_value=0, help_text="Always 0: the service does not know it.")
    owned_by = serializers.CharField(help_text="Always `llmservice`.")
    context_length = serializers.IntegerField(
        min_value=1, help_text="The most tokens of a prompt and its text together."
    )


class ModelListSerializer(serializers.Serializer[Any]):
    """The models that are served."""

    object = ConstantField("list", help_text="The kind of the object.")
    data = ModelSerializer(many=True, help_text="The one model.")  # type: ignore[assignment]


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
                ModelListSerializer,
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
        parameters=[
            OpenApiParameter(
                "name",
                str,
                OpenApiParameter.PATH,
                description="The name of the model; slashes in it may stand as they are.",
                examples=[OpenApiExample("The served model", SERVED_MODEL)],
            )
        ],
        responses={
            200: OpenApiResponse(
                ModelSerializer,
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
