"""The admin's actions on one key: rotate, end the grace period, disable, enable, revoke.

Each action needs a permission, both to see its button and to POST it. A secret's plaintext appears only in
the answer to the POST that created it. That answer is a page, not a redirect, so no session, message or
cookie has to carry the secret to the next page.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts import services
from accounts.admin.forms import NO_GRACE, ReasonForm, RotateForm
from accounts.events import Actor
from accounts.models import APIKey
from accounts.templatetags.keys import duration

if TYPE_CHECKING:
    KeyModelAdmin = admin.ModelAdmin[APIKey]
else:
    KeyModelAdmin = admin.ModelAdmin


@dataclass(frozen=True, kw_only=True)
class KeyAction:
    """An action that is confirmed on a page of its own: its texts, and the service that performs it."""

    service: Callable[..., None]
    permission: str
    label: str
    question: str
    consequence: str
    done: str
    reason_required: bool = False
    dangerous: bool = True


ROTATE_PERMISSION = "accounts.rotate_apikey"
REVOKE_PERMISSION = "accounts.revoke_apikey"
CHANGE_PERMISSION = "accounts.change_apikey"

ACTIONS = {
    "disable": KeyAction(
        service=services.disable,
        permission=CHANGE_PERMISSION,
        label="Disable",
        question="Disable this key?",
        consequence="Every request with this key is refused until the key is enabled again.",
        done="Disabled",
    ),
    "enable": KeyAction(
        service=services.enable,
        permission=CHANGE_PERMISSION,
        label="Enable",
        question="Enable this key?",
        consequence="The key's live secrets are accepted again.",
        done="Enabled",
        dangerous=False,
    ),
    "end_grace": KeyAction(
        service=services.end_grace,
        permission=ROTATE_PERMISSION,
        label="End grace period",
        question="End the grace period of the old secret now?",
        consequence="Every request with the old secret is refused from now on. The new secret keeps working.",
        done="Ended the grace period of",
    ),
    "revoke": KeyAction(
        service=services.revoke,
        permission=REVOKE_PERMISSION,
        label="Revoke",
        question="Revoke this key permanently?",
        consequence="Every request with this key is refused from now on. This cannot be undone.",
        done="Revoked",
        reason_required=True,
    ),
}


class KeyActionsAdmin(KeyModelAdmin):
    """The pages of the actions on one key, each at a URL below that of the key."""

    def get_urls(self) -> list[URLPattern]:
        rotate = path(
            "<int:key_id>/rotate/",
            self.admin_site.admin_view(self.rotate_view),
            name="accounts_apikey_rotate",
        )
        confirmed = [
            path(
                f"<int:key_id>/{name}/",
                self.admin_site.admin_view(self.action_view),
                kwargs={"action": action},
                name=f"accounts_apikey_{name}",
            )
            for name, action in ACTIONS.items()
        ]
        return [rotate, *confirmed, *super().get_urls()]

    def permitted(self, request: HttpRequest) -> Collection[str]:
        """The names of the actions that the signed-in account may perform."""
        needed = {
            "rotate": ROTATE_PERMISSION,
            **{name: action.permission for name, action in ACTIONS.items()},
        }
        return [name for name, permission in needed.items() if request.user.has_perm(permission)]

    def rotate_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        key = self._key_to_act_on(request, key_id, ROTATE_PERMISSION)
        live = key.secrets.live()
        full = live.count() >= services.MAX_LIVE_SECRETS
        initial = {"rotations": key.rotations} | ({"grace": NO_GRACE} if full else {})
        form = RotateForm(request.POST or None, initial=initial, full=full)
        if request.method == "POST" and form.is_valid():
            # The count from when the form was rendered: submitting the form twice does not rotate twice.
            key.rotations = form.cleaned_data["rotations"]
            grace, reason = form.grace_period, form.cleaned_data["reason"]
            try:
                with transaction.atomic():
                    issued = services.rotate(key=key, grace=grace, reason=reason, by=Actor.account(request))
                    kept = f"with a grace period of {duration(grace)}" if grace else "without a grace period"
                    self.log_change(request, key, f"Rotated {kept}.")
            except services.KeyChangeError as refused:
                return self._refused(request, key, refused)
            return self.show_once(request, issued)
        context = self.page_context(request, key, f"Rotate {key}")
        context |= {"form": form, "key_secrets": live, "full": full}
        return TemplateResponse(request, "admin/accounts/apikey/rotate.html", context)

    def action_view(self, request: HttpRequest, key_id: int, action: KeyAction) -> HttpResponse:
        key = self._key_to_act_on(request, key_id, action.permission)
        form = ReasonForm(request.POST or None, required=action.reason_required)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    action.service(key=key, reason=form.cleaned_data["reason"], by=Actor.account(request))
                    self.log_change(request, key, f"{action.done} the key.")
            except services.KeyChangeError as refused:
                return self._refused(request, key, refused)
            self.message_user(request, f"{action.done} the API key “{key}”.", messages.SUCCESS)
            return HttpResponseRedirect(key_url(key))
        context = self.page_context(request, key, f"{action.label}: {key}") | {"action": action, "form": form}
        return TemplateResponse(request, "admin/accounts/apikey/confirm.html", context)

    def show_once(self, request: HttpRequest, issued: services.IssuedSecret) -> HttpResponse:
        """The only page that ever shows the plaintext."""
        in_grace = issued.key.secrets.live().filter(expires_at__isnull=False)
        context = self.page_context(request, issued.key, f"The secret of {issued.key}") | {
            "plaintext": issued.plaintext,
            "in_grace": in_grace,
            "rotated": issued.key.rotations > 0,
            "generate_url": request.build_absolute_uri("/generate"),
        }
        response = TemplateResponse(request, "admin/accounts/apikey/issued.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def page_context(self, request: HttpRequest, key: APIKey, title: str) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "key": key,
            "now": timezone.now(),
        }

    def _key_to_act_on(self, request: HttpRequest, key_id: int, permission: str) -> APIKey:
        # Checked without the key, so that for a revoked key the service's message explains the refusal.
        if not request.user.has_perm(permission):
            raise PermissionDenied
        return get_object_or_404(self.get_queryset(request), pk=key_id)

    def _refused(self, request: HttpRequest, key: APIKey, refused: services.KeyChangeError) -> HttpResponse:
        self.message_user(request, str(refused), messages.ERROR)
        return HttpResponseRedirect(key_url(key))


def key_url(key: APIKey) -> str:
    """The URL of the key's page."""
    return reverse("admin:accounts_apikey_change", args=[key.pk])
