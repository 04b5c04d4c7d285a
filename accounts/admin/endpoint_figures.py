"""Usage by endpoint and by day: requests, tokens, and how long the finished requests took."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import QuerySet, Sum

from accounts import latency
from accounts.latency import Latency, Measure
from accounts.models import DailyUsage, Outcome

SUMMED = (*Outcome.values, "prompt_tokens", "completion_tokens", *latency.COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Times:
    """From the admission of the finished requests to their first token and to their end."""

    first_token: Latency | None
    total: Latency | None


@dataclass(frozen=True, kw_only=True)
class EndpointTotal:
    """The usage of an endpoint over keys and days."""

    endpoint: str
    requests: int
    tokens: int
    times: Times


@dataclass(frozen=True, kw_only=True)
class DayTimes:
    """The times of a day over keys and endpoints."""

    day: date
    times: Times


def endpoint_totals(usage: QuerySet[DailyUsage]) -> list[EndpointTotal]:
    """The endpoints that were used, those with the most requests first."""
    totals = [
        EndpointTotal(
            endpoint=endpoint,
            requests=sum(sums[outcome] for outcome in Outcome.values),
            tokens=sums["prompt_tokens"] + sums["completion_tokens"],
            times=_times(sums),
        )
        for endpoint, sums in _sums(usage, "endpoint")
    ]
    return sorted(totals, key=lambda total: (-total.requests, total.endpoint))


def times_by_day(usage: QuerySet[DailyUsage]) -> list[DayTimes]:
    """The days on which a request was measured, the latest first."""
    days = [DayTimes(day=day, times=_times(sums)) for day, sums in _sums(usage, "day")]
    return sorted((one for one in days if one.times.total), key=lambda one: one.day, reverse=True)


def _sums(usage: QuerySet[DailyUsage], by: str) -> list[tuple[Any, dict[str, int]]]:
    rows = usage.order_by().values_list(by).annotate(*(Sum(name) for name in SUMMED))
    return [(value, dict(zip(SUMMED, sums, strict=True))) for value, *sums in rows]


def _times(sums: Mapping[str, int]) -> Times:
    def of(measure: Measure) -> Latency | None:
        return Latency.of([sums[name] for name in measure.columns])

    return Times(first_token=of(Measure.FIRST_TOKEN), total=of(Measure.TOTAL))
