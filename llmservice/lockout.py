"""The answer to a locked-out login of the admin; django-axes counts the failures and calls this."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def locked_out(
    request: HttpRequest, response: HttpResponse | None = None, credentials: Mapping[str, Any] | None = None
) -> HttpResponse:
    """The 429 in place of the login form; the lockout has ended after the time that it states."""
    wait_s = int(settings.AXES_COOLOFF_TIME.total_seconds())
    context = {
        **admin.site.each_context(request),
        "title": "Too many attempts",
        "wait_minutes": wait_s // 60,
        "failures": settings.AXES_FAILURE_LIMIT,
    }
    refusal = render(request, "llmservice/locked_out.html", context, status=429)
    refusal.headers["Retry-After"] = str(wait_s)
    return refusal
