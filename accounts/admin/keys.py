"""API keys in the admin: the list, and the pages to create and edit a key. Keys are never deleted."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Max, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import services
from accounts.admin.bulk import BulkActionsAdmin
from accounts.admin.events import events_url
from accounts.admin.filters import ScopeFilter, StateFilter
from accounts.admin.forms import DEFAULT_LIMITS, KeyForm, limit_text
from accounts.admin.new_key_form import NewKeyForm
from accounts.admin.usage import USAGE_PERMISSION
from accounts.admin.usage_figures import TOKENS, Period
from accounts.conditions import conditions_at
from accounts.events import Actor
from accounts.key_fields import LIMITS
from accounts.limits.policy import Limits, day_of
from accounts.models import APIKey, APIKeySecret, KeyState, Prompts, Scope
from accounts.templatetags.keys import ago, compact, condition_tag, exact, left, state_badge

EVENTS_SHOWN = 8
USAGE_DAYS = 30
# On a read-only page, these are shown as plain text: the time with its zone, the limits as they apply.
SHOWN_AS_TEXT: dict[Any, str] = {
    "expires_at": "expires_text",
    "allowed_networks": "networks_text",
    "scopes": "scopes_text",
    **{name: f"{name}_text" for name in DEFAULT_LIMITS},
}


@admin.register(APIKey)
class APIKeyAdmin(BulkActionsAdmin):
    form = KeyForm
    list_display = (
        *("name", "state_display", "owner", "secrets_display", "scopes_display", "limits_display"),
        *("usage_display", "last_used", "created", "expires"),
    )
    list_filter = (StateFilter, ScopeFilter)
    show_facets = admin.ShowFacets.ALWAYS
    search_fields = ("name", "owner", "note", "secrets__prefix")
    search_help_text = "Search by name, owner, note or the start of a secret"
    fieldsets = (
        (None, {"fields": ("name", "owner", "note")}),
        ("Use", {"fields": ("expires_at", "allowed_networks", "scopes", "prompts")}),
        ("Limits", {"fields": LIMITS}),
    )

    class Media:
        css = {"all": ("accounts/keys.css",)}
        js = ("accounts/keys.js",)

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[APIKey]:
        keys = super().get_queryset(request).prefetch_related("secrets")
        used = Period(today=day_of(timezone.now()), length=USAGE_DAYS).usage().filter(key=OuterRef("pk"))
        tokens = used.order_by().values("key").annotate(sum=Sum(TOKENS)).values("sum")
        return keys.annotate(last_use=Max("secrets__last_used_at"), used_tokens=Coalesce(Subquery(tokens), 0))

    def get_list_display(self, request: HttpRequest) -> Any:
        may_see_usage = request.user.has_perm(USAGE_PERMISSION)
        return [name for name in self.list_display if name != "usage_display" or may_see_usage]

    @admin.display(description="state")
    def state_display(self, key: APIKey) -> SafeString:
        tags = ((condition_tag(condition),) for condition in conditions_at(key, timezone.now()))
        return state_badge(key) + format_html_join("", " {}", tags)

    @admin.display(description="secrets")
    def secrets_display(self, key: APIKey) -> SafeString:
        live = [secret for secret in key.secrets.all() if secret.is_live]
        return format_html_join(
            "", '<code class="key-prefix">{}</code> ', ((str(secret),) for secret in live)
        )

    @admin.display(description="scopes")
    def scopes_display(self, key: APIKey) -> SafeString:
        if set(key.scopes) == set(Scope.values):
            return format_html('<span class="key-quiet">{}</span>', "all")
        return format_html_join("", '<span class="key-line">{}</span>', ((scope,) for scope in key.scopes))

    @admin.display(description="limits")
    def limits_display(self, key: APIKey) -> SafeString:
        limits = Limits.of(key)
        lines = [
            limits.rate and f"{compact(limits.rate.per_minute)}/min",
            limits.tokens_per_day and f"{compact(limits.tokens_per_day)} tokens/day",
            limits.max_concurrent and f"{compact(limits.max_concurrent)} at a time",
            limits.max_tokens and f"max_tokens {compact(limits.max_tokens)}",
        ]
        if not any(lines):
            return format_html('<span class="key-quiet">{}</span>', "unlimited")
        return format_html_join("", '<span class="key-line">{}</span>', ((line,) for line in lines if line))

    @admin.display(description=f"tokens, {USAGE_DAYS} days", ordering="used_tokens")
    def usage_display(self, key: APIKey) -> SafeString:
        url = reverse("admin:accounts_dailyusage_key", args=[key.pk])
        return format_html('<a href="{}">{}</a>', url, compact(key.used_tokens))  # type: ignore[attr-defined]

    @admin.display(description="last used", ordering="last_use")
    def last_used(self, key: APIKey) -> SafeString:
        return ago(key.last_used_at)

    @admin.display(description="created", ordering="created_at")
    def created(self, key: APIKey) -> SafeString:
        return ago(key.created_at)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, key: APIKey) -> str:
        if key.expires_at is None:
            return "never"
        return ago(key.expires_at) if key.expires_at <= timezone.now() else left(key.expires_at)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": "API keys", **(extra_context or {})})

    # Permissions

    def has_delete_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        revoked = obj is not None and obj.state is KeyState.REVOKED
        return not revoked and super().has_change_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: APIKey | None = None) -> Any:
        if obj is None:
            (title, use) = self.fieldsets[1]
            return (self.fieldsets[0], (title, {"fields": ("expiry", *use["fields"])}), self.fieldsets[2])
        if self.has_change_permission(request, obj):
            return self.fieldsets
        return [
            (title, {"fields": [SHOWN_AS_TEXT.get(name, name) for name in options["fields"]]})
            for title, options in self.fieldsets
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: APIKey | None = None) -> Any:
        return () if obj is None or self.has_change_permission(request, obj) else [*SHOWN_AS_TEXT.values()]

    @admin.display(description="expires")
    def expires_text(self, key: APIKey) -> str:
        return "never" if key.expires_at is None else exact(key.expires_at)

    @admin.display(description="allowed networks")
    def networks_text(self, key: APIKey) -> str:
        return ", ".join(key.allowed_networks) or "all"

    @admin.display(description="scopes")
    def scopes_text(self, key: APIKey) -> str:
        return ", ".join(Scope(scope).label for scope in key.scopes)

    @admin.display(description="requests per minute")
    def requests_per_minute_text(self, key: APIKey) -> str:
        return limit_text("requests_per_minute", key)

    @admin.display(description="burst")
    def burst_text(self, key: APIKey) -> str:
        return limit_text("burst", key)

    @admin.display(description="tokens per day")
    def tokens_per_day_text(self, key: APIKey) -> str:
        return limit_text("tokens_per_day", key)

    @admin.display(description="concurrent requests")
    def max_concurrent_text(self, key: APIKey) -> str:
        return limit_text("max_concurrent", key)

    @admin.display(description="max tokens")
    def max_tokens_text(self, key: APIKey) -> str:
        return limit_text("max_tokens", key)

    # Creating and changing a key

    def get_form(
        self, request: HttpRequest, obj: APIKey | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(
            request, obj, change, **({"form": NewKeyForm} if obj is None else {}) | kwargs
        )

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except services.KeyChangeError as refused:  # The name was taken after validation.
            self.message_user(request, str(refused), messages.ERROR)
            return HttpResponseRedirect(request.path)

    def save_model(self, request: HttpRequest, obj: APIKey, form: "ModelForm[APIKey]", change: bool) -> None:
        if change:
            services.update_key(key=obj, fields=form.changed_data, by=Actor.account(request))
            return
        issued = services.create_key(
            name=obj.name,
            owner=obj.owner,
            note=obj.note,
            expires_at=obj.expires_at,
            allowed_networks=obj.allowed_networks,
            scopes=obj.scopes,
            prompts=Prompts(obj.prompts),
            limits={name: getattr(obj, name) for name in LIMITS},
            by=Actor.account(request),
        )
        obj.pk = issued.key.pk
        request.issued = issued  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: APIKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.show_once(request, request.issued)  # type: ignore[attr-defined]

    # The page of a key

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        if (key := context["original"]) is not None:
            secrets = list(key.secrets.all())
            context |= {
                "key_secrets": secrets,
                "in_grace": _in_grace(secrets),
                "conditions": conditions_at(key, timezone.now()),
                "actions": _useful(key, self.permitted(request)),
                "may_see_usage": request.user.has_perm(USAGE_PERMISSION),
            }
            if request.user.has_perm("accounts.view_keyevent"):
                context |= {
                    "events": key.events.select_related("secret")[:EVENTS_SHOWN],
                    "events_url": events_url(key),
                }
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # The key's events say more than the admin's own history and cover every way to change a key.
        return HttpResponseRedirect(events_url(get_object_or_404(APIKey, pk=object_id)))


def _in_grace(secrets: list[APIKeySecret]) -> list[tuple[APIKeySecret, bool]]:
    """Each secret in its grace period, and whether it was used after the newest secret was created."""
    newest = max((secret.created_at for secret in secrets), default=None)
    return [
        (secret, secret.last_used_at is not None and newest is not None and secret.last_used_at > newest)
        for secret in secrets
        if secret.expires_at is not None and secret.is_live
    ]


def _useful(key: APIKey, permitted: Any) -> dict[str, bool]:
    """Those of the permitted actions that are useful in the key's present state."""
    revoked, expired = key.state is KeyState.REVOKED, key.state is KeyState.EXPIRED
    disabled = key.disabled_at is not None
    changes = {
        "rotate": not expired,
        "end_grace": True,
        "disable": not disabled,
        "enable": disabled,
        "revoke": True,
    }
    return {name: True for name, it_does in changes.items() if it_does and not revoked and name in permitted}
