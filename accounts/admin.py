"""The API keys in the admin: made, looked at, rotated, disabled and revoked; never deleted.

A secret's plaintext is only ever in the answer to the POST that made it. That answer is rendered, not a
redirect, so that neither a session nor a message nor a cookie has to carry the secret to the next page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts import services
from accounts.events import Actor
from accounts.forms import KeyForm, RotateForm
from accounts.models import APIKey, APIKeyQuerySet, APIKeySecret, KeyState
from accounts.templatetags.keys import ago, left, state_badge

if TYPE_CHECKING:
    KeyModelAdmin = admin.ModelAdmin[APIKey]
else:
    KeyModelAdmin = admin.ModelAdmin

admin.site.site_header = admin.site.site_title = "llmservice"
admin.site.index_title = "Administration"


@dataclass(frozen=True, kw_only=True)
class KeyAction:
    """Something done to one key after a question: its words, and the service that does it."""

    service: Callable[..., None]
    label: str
    question: str
    consequence: str
    done: str


ACTIONS = {
    "disable": KeyAction(
        service=services.disable,
        label="Disable",
        question="Disable this key?",
        consequence="Every request with it is refused from now on, until you enable it again.",
        done="Disabled",
    ),
    "enable": KeyAction(
        service=services.enable,
        label="Enable",
        question="Enable this key?",
        consequence="Its live secrets are accepted again.",
        done="Enabled",
    ),
    "revoke": KeyAction(
        service=services.revoke,
        label="Revoke",
        question="Revoke this key for good?",
        consequence="Every request with it is refused from now on. This cannot be undone.",
        done="Revoked",
    ),
}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(KeyState.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> QuerySet[APIKey]:
        state = self.value()
        if state is None or state not in KeyState.values:
            return queryset
        return cast("APIKeyQuerySet", queryset).in_state(KeyState(state))


@admin.register(APIKey)
class APIKeyAdmin(KeyModelAdmin):
    form = KeyForm
    list_display = ("name", "state_display", "owner", "secrets_display", "last_used", "expires")
    list_filter = (StateFilter,)
    search_fields = ("name", "owner", "note", "secrets__prefix")
    search_help_text = "Search by name, owner, note or the start of a secret"

    class Media:
        css = {"all": ("accounts/keys.css",)}
        js = ("accounts/keys.js",)

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[APIKey]:
        keys = super().get_queryset(request).prefetch_related("secrets")
        return keys.annotate(last_use=Max("secrets__last_used_at"))

    @admin.display(description="state")
    def state_display(self, key: APIKey) -> SafeString:
        return state_badge(key)

    @admin.display(description="secrets")
    def secrets_display(self, key: APIKey) -> SafeString:
        live = [secret for secret in key.secrets.all() if secret.is_live]
        return format_html_join(
            "", '<code class="key-prefix">{}</code> ', ((str(secret),) for secret in live)
        )

    @admin.display(description="last used", ordering="last_use")
    def last_used(self, key: APIKey) -> SafeString:
        return ago(key.last_used_at)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, key: APIKey) -> str:
        if key.expires_at is None:
            return "never"
        return ago(key.expires_at) if key.expires_at <= timezone.now() else left(key.expires_at)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": "API keys", **(extra_context or {})})

    # What may be done

    def has_delete_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        revoked = obj is not None and obj.state is KeyState.REVOKED
        return not revoked and super().has_change_permission(request, obj)

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

    # A new key, a changed key

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except services.KeyChangeError as refused:  # Another took the name after the form was checked.
            self.message_user(request, str(refused), messages.ERROR)
            return HttpResponseRedirect(request.path)

    def save_model(self, request: HttpRequest, obj: APIKey, form: "ModelForm[APIKey]", change: bool) -> None:
        if change:
            services.describe(key=obj, fields=form.changed_data, by=Actor.account(request))
            return
        issued = services.create_key(
            name=obj.name,
            owner=obj.owner,
            note=obj.note,
            expires_at=obj.expires_at,
            by=Actor.account(request),
        )
        obj.pk = issued.key.pk
        request.issued = issued  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: APIKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_once(request, request.issued)  # type: ignore[attr-defined]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        if (key := context["original"]) is not None:
            context |= {
                "key_secrets": key.secrets.all(),
                "may_act": self.has_change_permission(request, key),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    # The actions on one key

    def rotate_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        key = self._key_to_act_on(request, key_id)
        form = RotateForm(request.POST or None, initial={"rotations": key.rotations})
        if request.method == "POST" and form.is_valid():
            # The sight of the key that the form was made from: one sent twice does not rotate twice.
            key.rotations = form.cleaned_data["rotations"]
            try:
                with transaction.atomic():
                    issued = services.rotate(key=key, grace=form.grace_period, by=Actor.account(request))
                    self.log_change(request, key, f"Rotated; the old secret stops: {form.grace_label}.")
            except services.KeyChangeError as refused:
                return self._refused(request, key, refused)
            return self._show_once(request, issued)
        live = APIKeySecret.objects.filter(key=key).live()
        context = self._context(request, key, f"Rotate {key}") | {"form": form, "key_secrets": live}
        return TemplateResponse(request, "admin/accounts/apikey/rotate.html", context)

    def action_view(self, request: HttpRequest, key_id: int, action: KeyAction) -> HttpResponse:
        key = self._key_to_act_on(request, key_id)
        if request.method == "POST":
            try:
                with transaction.atomic():
                    action.service(key=key, by=Actor.account(request))
                    self.log_change(request, key, f"{action.done}.")
            except services.KeyChangeError as refused:
                return self._refused(request, key, refused)
            self.message_user(request, f"{action.done} the API key “{key}”.", messages.SUCCESS)
            return HttpResponseRedirect(_key_url(key))
        context = self._context(request, key, f"{action.label} {key}") | {"action": action}
        return TemplateResponse(request, "admin/accounts/apikey/confirm.html", context)

    def _key_to_act_on(self, request: HttpRequest, key_id: int) -> APIKey:
        # Asked without the key: that a revoked one cannot be changed is the service's to say, in words.
        if not self.has_change_permission(request):
            raise PermissionDenied
        return get_object_or_404(self.get_queryset(request), pk=key_id)

    def _refused(self, request: HttpRequest, key: APIKey, refused: services.KeyChangeError) -> HttpResponse:
        self.message_user(request, str(refused), messages.ERROR)
        return HttpResponseRedirect(_key_url(key))

    def _show_once(self, request: HttpRequest, issued: services.IssuedSecret) -> HttpResponse:
        now = timezone.now()
        in_grace = issued.key.secrets.live(now).filter(expires_at__isnull=False)
        context = self._context(request, issued.key, f"The secret of {issued.key}") | {
            "plaintext": issued.plaintext,
            "in_grace": in_grace,
            "rotated": issued.key.rotations > 0,
            "generate_url": request.build_absolute_uri("/generate"),
        }
        response = TemplateResponse(request, "admin/accounts/apikey/issued.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _context(self, request: HttpRequest, key: APIKey, title: str) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "key": key,
            "now": timezone.now(),
        }


def _key_url(key: APIKey) -> str:
    return reverse("admin:accounts_apikey_change", args=[key.pk])
