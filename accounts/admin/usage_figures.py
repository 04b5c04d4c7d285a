"""The figures of the usage pages, summed by the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone

from accounts.admin.charts import Series
from accounts.limits.policy import Limits
from accounts.models import APIKey, DailyUsage, KeyState, Outcome, Reservation

TOP_KEYS = 5
LISTED_KEYS = 10
TOKENS = F("prompt_tokens") + F("completion_tokens")
OUTCOMES = [outcome.value for outcome in Outcome]


@dataclass(frozen=True, kw_only=True)
class Period:
    """The last `length` days (UTC), including today."""

    today: date
    length: int

    @property
    def days(self) -> Sequence[date]:
        return [self.today - timedelta(days=back) for back in reversed(range(self.length))]

    def usage(self, key: APIKey | None = None) -> QuerySet[DailyUsage]:
        """The usage in the period, of one key or of all."""
        used = DailyUsage.objects.filter(
            day__gt=self.today - timedelta(days=self.length), day__lte=self.today
        )
        return used if key is None else used.filter(key=key)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over keys and days; `finished` counts the requests that got their whole text.

    `keys` counts the keys that are not revoked, `revoked_keys` the others.
    """

    requests: int
    finished: int
    prompt_tokens: int
    completion_tokens: int
    keys: int
    revoked_keys: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def finished_percent(self) -> float | None:
        return 100 * self.finished / self.requests if self.requests else None


@dataclass(frozen=True, kw_only=True)
class KeyTotal:
    """The usage of one key, also as a percentage of all usage and of the first key in the list."""

    key_id: int
    name: str
    tokens: int
    requests: int
    percent_of_first: float
    percent_of_all: float
    colour: str


@dataclass(frozen=True, kw_only=True)
class DayBudget:
    """A key's tokens today: used, reserved by running requests, and its limit."""

    key_id: int
    name: str
    used: int
    reserved: int
    limit: int

    @property
    def used_percent(self) -> float:
        return min(100.0, 100 * self.used / self.limit)

    @property
    def reserved_percent(self) -> float:
        return min(100 - self.used_percent, 100 * self.reserved / self.limit)

    @property
    def level(self) -> str:
        taken = self.used + self.reserved
        return "full" if taken >= self.limit else "high" if taken >= 0.8 * self.limit else "fine"

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used - self.reserved)


def totals(usage: QuerySet[DailyUsage]) -> Totals:
    counted = usage.aggregate(
        prompt_tokens=Sum("prompt_tokens"),
        completion_tokens=Sum("completion_tokens"),
        **{outcome: Sum(outcome) for outcome in OUTCOMES},
    )
    revoked = Count("key", filter=Q(key__revoked_at__isnull=False), distinct=True)
    counted |= usage.aggregate(all_keys=Count("key", distinct=True), revoked_keys=revoked)
    counts = {name: value or 0 for name, value in counted.items()}
    return Totals(
        requests=sum(counts[outcome] for outcome in OUTCOMES),
        finished=counts["finished"],
        prompt_tokens=counts["prompt_tokens"],
        completion_tokens=counts["completion_tokens"],
        keys=counts["all_keys"] - counts["revoked_keys"],
        revoked_keys=counts["revoked_keys"],
    )


def key_totals(usage: QuerySet[DailyUsage]) -> list[KeyTotal]:
    """The keys that used the most tokens, in descending order; at most `LISTED_KEYS`."""
    rows = list(
        usage.values("key_id", "key__name")
        .annotate(used=Sum(TOKENS), requests=Sum(sum((F(o) for o in OUTCOMES[1:]), F(OUTCOMES[0]))))
        .filter(Q(used__gt=0) | Q(requests__gt=0))
        .order_by("-used", "-requests", "key_id")[:LISTED_KEYS]
    )
    of_all = totals(usage).tokens or 1
    first = (rows[0]["used"] if rows else 0) or 1
    return [
        KeyTotal(
            key_id=row["key_id"],
            name=row["key__name"],
            tokens=row["used"],
            requests=row["requests"],
            percent_of_first=100 * row["used"] / first,
            percent_of_all=100 * row["used"] / of_all,
            colour=f"series-{rank}" if rank <= TOP_KEYS else "series-rest",
        )
        for rank, row in enumerate(rows, start=1)
    ]


def tokens_by_key(usage: QuerySet[DailyUsage], days: Sequence[date], top: Sequence[KeyTotal]) -> list[Series]:
    """The tokens of each day for the first `TOP_KEYS` keys of `top`, and for all others together."""
    named = list(top[:TOP_KEYS])
    by_key = usage.filter(key_id__in=[key.key_id for key in named])
    used = {
        (row["key_id"], row["day"]): row["used"]
        for row in by_key.values("key_id", "day").annotate(used=Sum(TOKENS)).order_by()
    }
    everyone = {row["day"]: row["used"] for row in usage.values("day").annotate(used=Sum(TOKENS)).order_by()}
    series = [
        Series(label=key.name, colour=key.colour, values=[used.get((key.key_id, day), 0) for day in days])
        for key in named
    ]
    rest = [everyone.get(day, 0) - sum(one.values[index] for one in series) for index, day in enumerate(days)]
    if any(rest) or not series:
        label = "Tokens" if not series else top[-1].name if len(top) == TOP_KEYS + 1 else "Other keys"
        series.append(Series(label=label, colour="series-rest", values=rest))
    return series


def tokens_by_kind(usage: QuerySet[DailyUsage], days: Sequence[date]) -> list[Series]:
    """The tokens of each day in prompts and in completions."""
    kinds = {"prompt_tokens": ("Prompt", "series-1"), "completion_tokens": ("Completion", "series-2")}
    return _columns(usage, days, kinds)


def requests_by_outcome(usage: QuerySet[DailyUsage], days: Sequence[date]) -> list[Series]:
    """The requests of each day by outcome; outcomes that did not occur are left out."""
    outcomes = {o.value: (o.label, f"outcome-{o.value}") for o in Outcome}
    series = _columns(usage, days, outcomes)
    return [one for one in series if one.total] or series[:1]


def day_budgets(today: date) -> list[DayBudget]:
    """The active keys with a daily token limit, those nearest to their limit first."""
    budgets = _budgets(APIKey.objects.in_state(KeyState.ACTIVE), today)
    return sorted(budgets, key=lambda budget: (budget.used + budget.reserved) / budget.limit, reverse=True)


def day_budget(key: APIKey, today: date) -> DayBudget | None:
    """The key's tokens today; None if it has no daily limit."""
    return next(iter(_budgets([key], today)), None)


def _budgets(keys: Iterable[APIKey], today: date) -> list[DayBudget]:
    used = dict(
        DailyUsage.objects.filter(day=today).values_list("key_id").annotate(used=Sum(TOKENS)).order_by()
    )
    held = Reservation.objects.filter(day=today, deadline__gt=timezone.now())
    reserved = dict(held.values_list("key_id").annotate(Sum("tokens")))
    limited = ((key, Limits.of(key).tokens_per_day) for key in keys)
    return [
        DayBudget(
            key_id=key.pk,
            name=key.name,
            used=used.get(key.pk, 0),
            reserved=reserved.get(key.pk, 0),
            limit=limit,
        )
        for key, limit in limited
        if limit is not None
    ]


def _columns(
    usage: QuerySet[DailyUsage], days: Sequence[date], columns: dict[str, tuple[str, str]]
) -> list[Series]:
    sums = usage.values_list("day").annotate(*(Sum(name) for name in columns)).order_by()
    by_day = {day: values for day, *values in sums}
    nothing = [0] * len(columns)
    return [
        Series(label=label, colour=colour, values=[by_day.get(day, nothing)[index] for day in days])
        for index, (label, colour) in enumerate(columns.values())
    ]
