"""The limits of a key and the decision whether they admit one more request; uses no database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from django.conf import settings
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.settings import api_settings

from accounts import codes
from accounts.limits.gcra import Rate, microseconds, whole_seconds
from accounts.models import APIKey
from llmservice.http.codes import Code

DAY_S = 86400
# What the fields that ask for new tokens are called, in `/generate` and in OpenAI's API.
MAX_TOKENS_FIELDS = ("max_new_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens")


class LimitExceeded(Throttled):
    """A limit refused the request at `decided_at`; it is to be tried again after `wait` whole seconds."""

    def __init__(self, detail: str, *, code: Code, wait_s: int, decided_at: datetime) -> None:
        super().__init__(detail=detail, code=code.name)
        self.wait = wait_s
        self.decided_at = decided_at


class NeverWithinLimit(ValidationError):
    """The request asks for more tokens than its key may use in a day, so waiting does not help."""

    default_code = codes.EXCEEDS_DAY.name

    def __init__(self, detail: str) -> None:
        super().__init__({api_settings.NON_FIELD_ERRORS_KEY: [detail]})


class MoreThanMaxTokens(ValidationError):
    """A field of the request asks for more new tokens than its key may request."""

    default_code = codes.EXCEEDS_MAX_TOKENS.name

    def __init__(self, field: str, *, max_tokens: int) -> None:
        super().__init__({field: [f"Must be at most {max_tokens}, the most that this API key may request."]})


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How much of its limits a key has used at the time `now`."""

    now: datetime
    tat_us: int = 0
    running: int = 0
    used_tokens: int = 0
    reserved_tokens: int = 0

    @property
    def now_us(self) -> int:
        return microseconds(self.now)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a request is refused, and the whole seconds after which to try again."""

    code: Code
    detail: str
    wait_s: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits that apply to a key; None is unlimited."""

    rate: Rate | None
    tokens_per_day: int | None
    max_concurrent: int | None
    max_tokens: int | None = None

    @classmethod
    def of(cls, key: APIKey) -> Self:
        """The key's own limits, with the defaults from the settings where it has none; 0 is unlimited."""
        per_minute = _own(key.requests_per_minute, settings.LLM_KEY_REQUESTS_PER_MINUTE)
        burst = _own(key.burst, settings.LLM_KEY_BURST)
        return cls(
            rate=Rate(per_minute=per_minute, burst=burst or per_minute) if per_minute else None,
            tokens_per_day=_own(key.tokens_per_day, settings.LLM_KEY_TOKENS_PER_DAY) or None,
            max_concurrent=_own(key.max_concurrent, settings.LLM_KEY_MAX_CONCURRENT) or None,
            max_tokens=_own(key.max_tokens, settings.LLM_KEY_MAX_TOKENS) or None,
        )

    @property
    def unlimited(self) -> bool:
        """Whether nothing of it is ever used up; `max_tokens` bounds each request alone."""
        return self.rate is None and self.tokens_per_day is None and self.max_concurrent is None

    def tokens_left(self, standing: Standing) -> int | None:
        """How many tokens can still be reserved today; None if unlimited."""
        if self.tokens_per_day is None:
            return None
        return max(0, self.tokens_per_day - standing.used_tokens - standing.reserved_tokens)

    def slots_left(self, standing: Standing) -> int | None:
        """How many more requests may run now; None if unlimited."""
        if self.max_concurrent is None:
            return None
        return max(0, self.max_concurrent - standing.running)

    def check_max_tokens(self, body: Mapping[str, Any]) -> None:
        """Check how many new tokens a valid body asks for; what it leaves open is capped, not refused.

        Raises:
            MoreThanMaxTokens: a field asks for more than a request of the key may.
        """
        for field in MAX_TOKENS_FIELDS:
            if self.max_tokens is not None and (body.get(field) or 0) > self.max_tokens:
                raise MoreThanMaxTokens(field, max_tokens=self.max_tokens)

    def capped(self, new_tokens: int) -> int:
        """As many new tokens, or the most that a request of the key may ask for."""
        return new_tokens if self.max_tokens is None else min(new_tokens, self.max_tokens)

    def check_possible(self, tokens: int) -> None:
        """Raise `NeverWithinLimit` if a request for this many tokens exceeds even an unused day."""
        if self.tokens_per_day is not None and tokens > self.tokens_per_day:
            raise NeverWithinLimit(
                f"This request may use {tokens} tokens (prompt and completion), but this API key may use "
                f"only {self.tokens_per_day} in a whole day: shorten the prompt or request fewer new tokens."
            )

    def refusal(self, standing: Standing, *, tokens: int, place_free_at: datetime | None) -> Refusal | None:
        """Why the limits refuse a request for this many tokens; None if they admit it.

        If several limits refuse it, the refusal is the one with the longest wait. `place_free_at` is the
        time at which enough of the running requests are expected to have ended to admit another.
        """
        refusals = (
            self._rate_refusal(standing),
            self._tokens_refusal(standing, tokens),
            self._concurrency_refusal(standing, place_free_at),
        )
        return max((r for r in refusals if r is not None), key=lambda r: r.wait_s, default=None)

    def _rate_refusal(self, standing: Standing) -> Refusal | None:
        if self.rate is None:
            return None
        wait_us = self.rate.wait_us(standing.tat_us, now_us=standing.now_us)
        if not wait_us:
            return None
        wait_s = whole_seconds(wait_us)
        limit = f"{_count(self.rate.per_minute, 'request')} a minute, {self.rate.burst} at once"
        detail = f"This API key may make {limit}: try again in {in_words(wait_s)}."
        return Refusal(code=codes.REQUESTS_LIMIT, detail=detail, wait_s=wait_s)

    def _tokens_refusal(self, standing: Standing, tokens: int) -> Refusal | None:
        left = self.tokens_left(standing)
        if left is None or tokens <= left:
            return None
        wait_s = whole_seconds(microseconds(midnight_after(standing.now)) - standing.now_us)
        detail = (
            f"This API key may use {self.tokens_per_day} tokens a day (UTC): {standing.used_tokens} are used "
            f"and {standing.reserved_tokens} reserved by running requests; this request may use {tokens}. "
            f"Try again at 00:00 UTC (in {in_words(wait_s)})."
        )
        return Refusal(code=codes.TOKENS_LIMIT, detail=detail, wait_s=wait_s)

    def _concurrency_refusal(self, standing: Standing, place_free_at: datetime | None) -> Refusal | None:
        if self.slots_left(standing) != 0:
            return None
        free_us = standing.now_us if place_free_at is None else microseconds(place_free_at)
        wait_s = max(1, whole_seconds(free_us - standing.now_us))
        detail = (
            f"This API key may have {_count(self.max_concurrent or 0, 'request')} running or waiting at the "
            f"same time: try again in {in_words(wait_s)}, when one may have ended."
        )
        return Refusal(code=codes.CONCURRENCY_LIMIT, detail=detail, wait_s=wait_s)


def day_of(moment: datetime) -> date:
    """The day (UTC) that tokens used at this time count towards."""
    return moment.astimezone(UTC).date()


def midnight_after(moment: datetime) -> datetime:
    """The end of the day (UTC) that contains this time."""
    return datetime.combine(day_of(moment) + timedelta(days=1), datetime.min.time(), tzinfo=UTC)


def _own(of_key: int | None, of_settings: int) -> int:
    return of_settings if of_key is None else of_key


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_words(wait_s: int) -> str:
    """A time to wait as people say it, rounded up to minutes if it is longer than two of them."""
    if wait_s <= 120:
        return _count(wait_s, "second")
    hours, minutes = divmod(-(-wait_s // 60), 60)
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min")) if number)
