"""The icon that browsers ask every site for, at an address of their choice."""

from pathlib import Path

from django.http import HttpResponse
from rest_framework.request import Request

from llmservice.http.views import OpenView

ICON = (Path(__file__).parent / "static" / "llmservice" / "favicon.svg").read_bytes()


class FaviconView(OpenView):
    """The service's icon, for pages that name none."""

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(
            ICON, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"}
        )
