"""The documentation of the API: the OpenAPI document, Swagger UI, and the answer to unknown addresses."""

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from inference import runtime
from llmservice import __version__
from llmservice.http.views import OpenView, OwnMethodsView


class CompactRenderer(OpenApiJsonRenderer2):
    """JSON without indentation, which would be half of the document."""

    def get_indent(self, *_: Any) -> None:
        return None


class SchemaView(OwnMethodsView, SpectacularAPIView):
    """The OpenAPI document, as JSON."""

    renderer_classes = [CompactRenderer]

    def _get_version_parameter(self, request: Request) -> None:
        """The API has one version: what a client names as another goes into neither document nor header."""


class DocsView(OpenView):
    """Swagger UI, loaded from this host only, under a head that names the base URL and the model."""

    def get(self, request: Request) -> HttpResponse:
        context = {
            "version": __version__,
            "base_url": request.build_absolute_uri("/").rstrip("/"),
            "model": runtime.served_name(),
        }
        return render(request, "llmservice/docs.html", context)


class NotFoundView(OpenView):
    """The last route: every unknown address. Django's own answer would be an HTML page."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        without_slash = request.path.rstrip("/")
        try:
            exists = resolve(without_slash).url_name != "not-found"
        except Resolver404:
            exists = False
        if exists:
            raise NotFound(
                f"There is nothing at this address; did you mean {without_slash}, without the slash?"
            )
        raise Http404
