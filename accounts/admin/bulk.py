"""The admin's actions on several keys at once: disable and revoke, confirmed on a page of their own."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from accounts import services
from accounts.admin.actions import ACTIONS, REVOKE_PERMISSION, KeyActionsAdmin
from accounts.admin.forms import ReasonForm
from accounts.events import Actor
from accounts.models import APIKey, KeyState

# The confirmation repeats each key as a field, and Django accepts a thousand fields.
MOST_KEYS = 500


class BulkActionsAdmin(KeyActionsAdmin):
    actions = ("disable_selected", "revoke_selected")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(REVOKE_PERMISSION)

    @admin.action(description="Disable selected API keys", permissions=["change"])
    def disable_selected(self, request: HttpRequest, keys: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_all(request, keys, "disable")

    @admin.action(description="Revoke selected API keys", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, keys: QuerySet[APIKey]) -> HttpResponse | None:
        return self._change_all(request, keys, "revoke")

    def _change_all(self, request: HttpRequest, keys: QuerySet[APIKey], name: str) -> HttpResponse | None:
        """Ask for a reason first, then change every key that is not changed yet; None shows the list."""
        action = ACTIONS[name]
        chosen = list(keys.order_by("name", "pk")[: MOST_KEYS + 1])
        if len(chosen) > MOST_KEYS:
            self.message_user(request, f"Select at most {MOST_KEYS} API keys at a time.", messages.ERROR)
            return None
        useful = [key for key in chosen if _changes(key, name)]
        if not useful:
            done = "revoked" if name == "revoke" else "disabled or revoked"
            self.message_user(request, f"The selected API keys are already {done}.", messages.WARNING)
            return None
        confirmed = request.POST if "confirmed" in request.POST else None
        form = ReasonForm(confirmed, required=action.reason_required)
        if not form.is_valid():
            context = self.page_context(request, useful[0], f"{action.label} {_count(useful)}") | {
                "action": action,
                "name": f"{name}_selected",
                "form": form,
                "keys": useful,
                "left_out": len(chosen) - len(useful),
                "checkbox_name": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/accounts/apikey/bulk.html", context)
        by, reason = Actor.account(request), form.cleaned_data["reason"]
        changed = []
        for key in useful:
            try:
                with transaction.atomic():
                    action.service(key=key, reason=reason, by=by)
                    self.log_change(request, key, f"{action.done} the key.")
                changed.append(key)
            except services.KeyChangeError as refused:  # It was revoked meanwhile.
                self.message_user(request, f"{key}: {refused}", messages.ERROR)
        if changed:
            self.message_user(request, f"{action.done} {_count(changed)}.", messages.SUCCESS)
        return None


def _changes(key: APIKey, name: str) -> bool:
    if name == "disable" and key.disabled_at is not None:
        return False
    return key.state is not KeyState.REVOKED


def _count(keys: list[Any]) -> str:
    return "1 API key" if len(keys) == 1 else f"{len(keys)} API keys"
