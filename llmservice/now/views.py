"""The page and the part of it that is refreshed, for accounts that may view usage."""

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.http import require_safe

from accounts.admin.usage import USAGE_PERMISSION
from llmservice.now.figures import look

REFRESHED_EVERY_S = 3


@require_safe
@permission_required(USAGE_PERMISSION, raise_exception=True)
def page(request: HttpRequest) -> HttpResponse:
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": "Now",
        "now": look(),
        "refreshed_every_s": REFRESHED_EVERY_S,
    }
    return TemplateResponse(request, "llmservice/now/page.html", context)


@require_safe
@permission_required(USAGE_PERMISSION, raise_exception=True)
def figures(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "llmservice/now/figures.html", {"now": look()})


urlpatterns = [
    path("", admin.site.admin_view(page), name="now"),
    path("figures", admin.site.admin_view(figures), name="now-figures"),
]
