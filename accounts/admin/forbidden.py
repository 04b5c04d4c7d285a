"""The pages of the admin that say why something is refused: no permission, a form that is out of date."""

from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Permission
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.shortcuts import render
from django.urls import ResolverMatch

from accounts.admin.actions import ACTIONS, ROTATE_PERMISSION
from accounts.admin.usage import USAGE_PERMISSION
from accounts.models import APIKey, DailyUsage
from llmservice.http import problems

# What the pages of a model need besides those of Django, by the end of their name.
OWN_PAGES = {"rotate": ROTATE_PERMISSION, **{name: action.permission for name, action in ACTIONS.items()}}
DJANGO_PAGES = {"changelist": "view", "history": "view", "add": "add", "delete": "delete"}


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler403`."""
    answer: HttpResponse = problems.permission_denied(request, exception)
    if not request.path.startswith("/admin/") or not request.user.is_staff:
        return answer
    needed = _needed(request)
    # Superusers lack none: what they are refused, nobody may do.
    lacking = None if needed is None or request.user.has_perm(needed) else _permission(needed)
    context = {
        **admin.site.each_context(request),
        "title": "Permission denied",
        "lacking": lacking,
        "codename": needed,
    }
    return render(request, "admin/accounts/forbidden.html", context, status=403)


def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's `CSRF_FAILURE_VIEW`: a form lacks the token of this session, as after another login."""
    if reason == REASON_NO_CSRF_COOKIE:
        advice = "The browser sent no cookie: allow cookies for this site, reload the page and try again."
    elif reason.startswith(("Origin checking failed", "Referer checking failed")):
        advice = (
            "The form came from another address than this service knows as its own. Behind a proxy, ask the "
            "operator to set CSRF_TRUSTED_ORIGINS to the address in the browser."
        )
    else:
        advice = (
            "The page was opened before the last login or logout: go back, reload the page and try again."
        )
    context = {**admin.site.each_context(request), "title": "The form was refused", "advice": advice}
    return render(request, "admin/accounts/form_refused.html", context, status=403)


def _needed(request: HttpRequest) -> str | None:
    """The permission (`accounts.add_apikey`) that the page needs; None if it is not the page of a model."""
    match: ResolverMatch | None = request.resolver_match
    for model, model_admin in admin.site._registry.items():
        opts = model_admin.opts
        start = f"{opts.app_label}_{opts.model_name}_"
        if match is None or match.url_name is None or not match.url_name.startswith(start):
            continue
        page = match.url_name.removeprefix(start)
        if model is DailyUsage:
            return USAGE_PERMISSION
        if model is APIKey and page in OWN_PAGES:
            return OWN_PAGES[page]
        action = DJANGO_PAGES.get(page) or ("view" if request.method == "GET" else "change")
        return f"{opts.app_label}.{get_permission_codename(action, opts)}"
    return None


def _permission(needed: str) -> Permission | None:
    """The permission of this name; None if there is none, so that no account can get it."""
    app_label, codename = needed.split(".")
    return Permission.objects.filter(content_type__app_label=app_label, codename=codename).first()
