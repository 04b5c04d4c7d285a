"""The filters of the list of keys: by state or a condition of active keys, and by scope."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.conditions import Condition, having
from accounts.models import APIKey, APIKeyQuerySet, KeyState, Scope


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        (active, *others) = KeyState.choices
        return [active, *Condition.choices, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> QuerySet[APIKey]:
        wanted = self.value()
        if wanted in KeyState.values:
            return cast("APIKeyQuerySet", queryset).in_state(KeyState(wanted))
        if wanted in Condition.values:
            return queryset.filter(pk__in=having(Condition(wanted), timezone.now()).values("pk"))
        return queryset


class ScopeFilter(admin.SimpleListFilter):
    title = "scope"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return Scope.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> QuerySet[APIKey]:
        wanted = self.value()
        if wanted in Scope.values:
            return cast("APIKeyQuerySet", queryset).with_scope(Scope(wanted))
        return queryset
