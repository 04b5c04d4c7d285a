"""Usage in the admin: of all keys, of one key, and as CSV."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.text import slugify

from accounts.admin import endpoint_figures, usage_figures
from accounts.admin.charts import stacked_columns
from accounts.admin.usage_figures import Period
from accounts.limits.policy import day_of
from accounts.models import APIKey, DailyUsage
from accounts.usage_export import csv_lines

if TYPE_CHECKING:
    UsageModelAdmin = admin.ModelAdmin[DailyUsage]
else:
    UsageModelAdmin = admin.ModelAdmin

USAGE_PERMISSION = "accounts.view_usage"
LENGTHS = (7, 30, 90)
DEFAULT_LENGTH = 30
BUDGETS_SHOWN = 10


@admin.register(DailyUsage)
class UsageAdmin(UsageModelAdmin):
    """Appears in the admin's menu like a model, but replaces the list and the form with its own pages."""

    class Media:
        css = {"all": ("accounts/keys.css", "accounts/usage.css")}

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="accounts_dailyusage_changelist"),
            path("usage.csv", view(self.csv_view), name="accounts_dailyusage_csv"),
            path("<int:key_id>/", view(self.key_view), name="accounts_dailyusage_key"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: DailyUsage | None = None) -> bool:
        return request.user.has_perm(USAGE_PERMISSION)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: DailyUsage | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: DailyUsage | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        self._refuse_without_permission(request)
        period = _period(request)
        used = period.usage()
        top = usage_figures.key_totals(used)
        budgets = usage_figures.day_budgets(period.today)
        context = self._context(request, "Usage", period) | {
            "top": top,
            "key_count": APIKey.objects.filter(revoked_at__isnull=True).count(),
            "budgets": budgets[:BUDGETS_SHOWN],
            "budgets_left_out": max(0, len(budgets) - BUDGETS_SHOWN),
            "charts": [
                stacked_columns(
                    identity="tokens",
                    title="Tokens per day by key",
                    unit="tokens",
                    days=period.days,
                    series=usage_figures.tokens_by_key(used, period.days, top),
                ),
                self._requests_chart(period),
            ],
        }
        return TemplateResponse(request, "admin/accounts/usage/overview.html", context)

    def key_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        self._refuse_without_permission(request)
        key = get_object_or_404(APIKey, pk=key_id)
        period = _period(request)
        budget = usage_figures.day_budget(key, period.today)
        context = self._context(request, f"Usage of {key}", period, key) | {
            "budgets": [budget] if budget else [],
            "charts": [
                stacked_columns(
                    identity="tokens",
                    title="Tokens per day",
                    unit="tokens",
                    days=period.days,
                    series=usage_figures.tokens_by_kind(period.usage(key), period.days),
                    limit=budget.limit if budget else None,
                ),
                self._requests_chart(period, key),
            ],
        }
        return TemplateResponse(request, "admin/accounts/usage/key.html", context)

    def csv_view(self, request: HttpRequest) -> StreamingHttpResponse:
        self._refuse_without_permission(request)
        asked = request.GET.get("key", "")
        key = get_object_or_404(APIKey, pk=int(asked[:18])) if asked.isdecimal() else None
        period = _period(request)
        usage = period.usage(key).select_related("key").order_by("day", "key_id", "endpoint")
        response = StreamingHttpResponse(csv_lines(usage.iterator()), content_type="text/csv; charset=utf-8")
        name = "-".join(filter(None, ("usage", slugify(key.name) if key else "", period.today.isoformat())))
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return response

    def _requests_chart(self, period: Period, key: APIKey | None = None) -> Any:
        return stacked_columns(
            identity="requests",
            title="Requests per day by outcome",
            unit="requests",
            days=period.days,
            series=usage_figures.requests_by_outcome(period.usage(key), period.days),
        )

    def _context(
        self, request: HttpRequest, title: str, period: Period, key: APIKey | None = None
    ) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        used = period.usage(key)
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "key": key,
            "period": period,
            "lengths": LENGTHS,
            "endpoints": endpoint_figures.endpoint_totals(used),
            "days": endpoint_figures.times_by_day(used),
            "of_today": usage_figures.totals(Period(today=period.today, length=1).usage(key)),
            "of_period": usage_figures.totals(used),
            "may_see_keys": request.user.has_perm("accounts.view_apikey")
            or request.user.has_perm("accounts.change_apikey"),
        }

    def _refuse_without_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


def _period(request: HttpRequest) -> Period:
    asked = request.GET.get("days", "")
    length = int(asked) if asked in map(str, LENGTHS) else DEFAULT_LENGTH
    return Period(today=day_of(timezone.now()), length=length)
