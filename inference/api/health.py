"""Liveness and readiness, for probes and load balancers; neither needs a key."""

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from inference import runtime
from inference.api.serializers import HealthSerializer, ReadySerializer
from inference.api.served_model import SERVED_MODEL
from inference.engine.errors import Unavailable
from llmservice import database_watch
from llmservice.http.problem_schema import problems
from llmservice.http.views import OwnMethodsView


class HealthView(OwnMethodsView):
    """Whether this process should keep running: a supervisor restarts it on 503.

    It uses neither the database nor the model, so it answers at any load, and while the model loads.
    """

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="health",
        tags=["Service"],
        summary="Is the service running?",
        description="Answers at any time, including while the model loads and while every core generates.",
        responses={
            200: OpenApiResponse(
                HealthSerializer,
                description="The service is running.",
                examples=[OpenApiExample("Running", {"status": "ok", "message": "Service is running"})],
            ),
            503: OpenApiResponse(
                HealthSerializer,
                description="The engine has died: only a restart of the service helps.",
                examples=[OpenApiExample("Dead", {"status": "error", "message": "The engine has stopped."})],
            ),
        },
    )
    def get(self, request: Request) -> Response:
        status = runtime.status()
        if status.state is runtime.State.DEAD:
            return Response({"status": "error", "message": status.reason}, status=503)
        return Response({"status": "ok", "message": "Service is running"})


class ReadyView(OwnMethodsView):
    """Whether to send requests to this process now."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="ready",
        tags=["Service"],
        summary="Can the service generate?",
        description=(
            "Answers 503 while the model loads, while the database cannot be used, and during shutdown: "
            "send requests elsewhere."
        ),
        responses={
            200: OpenApiResponse(
                ReadySerializer,
                description="The model can generate.",
                examples=[
                    OpenApiExample("Ready", {"status": "ready", "model": SERVED_MODEL}),
                ],
            ),
            **problems(503),
        },
    )
    def get(self, request: Request) -> Response:
        backend = runtime.backend()
        if fault := backend.fault or database_watch.fault():
            raise Unavailable(fault)
        return Response({"status": "ready", "model": backend.model_name})
