"""The events of keys in the admin: an audit log that nobody can change."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import APIKey, KeyEvent
from accounts.templatetags.keys import event_badge, event_details, exact

if TYPE_CHECKING:
    EventModelAdmin = admin.ModelAdmin[KeyEvent]
else:
    EventModelAdmin = admin.ModelAdmin

KEY_FILTER = "key__id__exact"


class WhenFilter(admin.DateFieldListFilter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "when"


@admin.register(KeyEvent)
class KeyEventAdmin(EventModelAdmin):
    list_display = ("when", "key_link", "what", "details_display", "secret", "actor_and_address")
    list_display_links = None
    list_filter = ("kind", ("at", WhenFilter))
    show_facets = admin.ShowFacets.NEVER
    empty_value_display = ""
    list_select_related = ("key", "secret")
    list_per_page = 50
    search_fields = ("key__name", "actor", "address")
    search_help_text = "Search by key, actor or address"
    actions = None

    class Media:
        css = {"all": ("accounts/keys.css",)}

    @admin.display(description="when", ordering="at")
    def when(self, event: KeyEvent) -> str:
        return exact(event.at)

    @admin.display(description="key", ordering="key__name")
    def key_link(self, event: KeyEvent) -> SafeString:
        url = reverse("admin:accounts_apikey_change", args=[event.key_id])
        return format_html('<a href="{}">{}</a>', url, event.key)

    @admin.display(description="event", ordering="kind")
    def what(self, event: KeyEvent) -> SafeString:
        return event_badge(event)

    @admin.display(description="by", ordering="actor")
    def actor_and_address(self, event: KeyEvent) -> SafeString:
        address = format_html('<span class="key-line key-quiet">from {}</span>', event.address)
        return format_html("{}{}", event.actor, address if event.address else "")

    @admin.display(description="details")
    def details_display(self, event: KeyEvent) -> str:
        return event_details(event)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        title = "Events"
        if (key_id := request.GET.get(KEY_FILTER, "")).isdecimal():
            key: QuerySet[APIKey] = APIKey.objects.filter(pk=key_id[:18])
            title = f"Events of {key.get()}" if key.exists() else title
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: KeyEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: KeyEvent | None = None) -> bool:
        return False


def events_url(key: APIKey) -> str:
    """The URL of the list of the key's events."""
    return f"{reverse('admin:accounts_keyevent_changelist')}?{KEY_FILTER}={key.pk}"
