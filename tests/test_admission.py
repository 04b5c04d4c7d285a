"""Admission and settlement case by case; no test here sleeps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts import services
from accounts.key_fields import LIMITS
from accounts.limits import admission as admissions
from accounts.limits.policy import Limits, NeverWithinLimit
from accounts.models import APIKey, DailyUsage, Outcome, Reservation
from tests.admissions import DEADLINE, ENDS, NOON, admit, finish, new_key, refused, settle

pytestmark = pytest.mark.django_db


def test_settling_releases_the_reserved_tokens_that_were_not_used() -> None:
    key = new_key(tokens_per_day=100)
    admission = admit(key, 80)
    assert refused(key, 21).wait == 12 * 3600
    assert finish(admission, 30)
    admit(key, 70)
    refused(key, 1)


@pytest.mark.parametrize("outcome", ENDS)
def test_each_outcome_is_counted_once_in_its_column(outcome: Outcome) -> None:
    key = new_key()
    admission = admit(key, 50)
    assert settle(admission, outcome, prompt_tokens=3, completion_tokens=4)
    assert not settle(admission, outcome, prompt_tokens=3, completion_tokens=4)
    row = DailyUsage.objects.get()
    assert (row.key, row.day) == (key, NOON.date())
    assert (getattr(row, outcome), row.prompt_tokens, row.completion_tokens) == (1, 3, 4)
    assert not Reservation.objects.exists()


@pytest.mark.parametrize(
    ("limits", "finished", "wait_s"),
    [
        ({"requests_per_minute": 7, "burst": 1}, True, 9),
        ({"requests_per_minute": 7, "burst": 1}, False, 9),
        ({"tokens_per_day": 10}, True, 12 * 3600),
        ({"requests_per_minute": 7, "burst": 1, "tokens_per_day": 10, "max_concurrent": 1}, True, 12 * 3600),
    ],
)
def test_waiting_for_the_stated_time_suffices_and_a_second_less_does_not(
    limits: dict[str, int | None], finished: bool, wait_s: int
) -> None:
    key = new_key(**limits)
    admission = admit(key, 10)
    if finished:
        finish(admission, 10)
    assert refused(key, 10).wait == wait_s
    refused(key, 10, NOON + timedelta(seconds=wait_s - 1))
    admit(key, 10, NOON + timedelta(seconds=wait_s))


def test_if_several_limits_refuse_the_longest_wait_is_reported() -> None:
    key = new_key(requests_per_minute=1, tokens_per_day=10)
    admit(key, 10)
    assert "tokens a day" in str(refused(key, 10).detail)
    assert "a minute" in str(refused(new_key_at_its_rate_limit(), 1).detail)


def new_key_at_its_rate_limit() -> APIKey:
    key = new_key(requests_per_minute=1, tokens_per_day=10)
    admit(key, 1)
    return key


def test_a_request_for_more_tokens_than_a_whole_day_is_refused_as_never_possible() -> None:
    key = new_key(tokens_per_day=100)
    with pytest.raises(NeverWithinLimit) as refusal:
        admit(key, 101)
    assert "101" in str(refusal.value.detail)
    assert not DailyUsage.objects.exists()


def test_tokens_count_towards_the_day_of_admission_even_after_midnight() -> None:
    key = new_key(tokens_per_day=100)
    before = datetime(2026, 11, 23, 23, 59, 59, 999_999, tzinfo=UTC)
    admission = admit(key, 100, before)
    midnight = before + timedelta(microseconds=1)
    assert refused(key, 1, before).wait == 1
    admit(key, 100, midnight)
    finish(admission, 60)
    assert DailyUsage.objects.get(day=before.date()).tokens == 60
    refused(key, 1, midnight)


def test_a_request_refused_by_another_limit_does_not_count_towards_the_rate() -> None:
    key = new_key(requests_per_minute=60, burst=2, max_concurrent=1)
    admission = admit(key)
    for _ in range(5):
        refused(key)
    finish(admission, 1)
    admit(key)


def test_an_unsettled_request_is_lost_until_it_is_settled() -> None:
    key = new_key(tokens_per_day=100, max_concurrent=1)
    admission = admit(key, 100)
    refused(key, 1, DEADLINE - timedelta(microseconds=1))
    other = admit(key, 100, DEADLINE)
    row = DailyUsage.objects.get()
    assert (row.lost, row.finished, row.tokens) == (1, 0, 0)
    assert finish(admission, 90)
    assert not finish(admission, 90)
    row.refresh_from_db()
    assert (row.lost, row.finished, row.tokens) == (0, 1, 90)
    assert Reservation.objects.get().pk == other.reservation_id


def test_an_overdue_request_holds_nothing_even_before_it_is_counted_as_lost() -> None:
    key = new_key(tokens_per_day=100, max_concurrent=1)
    admit(key, 100)
    before = admissions.standing_of(key, now=DEADLINE - timedelta(microseconds=1))
    assert (before.running, before.reserved_tokens) == (1, 100)
    standing = admissions.standing_of(key, now=DEADLINE)
    assert (standing.running, standing.reserved_tokens) == (0, 0)


def test_a_lost_request_can_be_settled_for_at_least_a_week() -> None:
    key = new_key()
    first, second = admit(key), admit(key)
    week = DEADLINE + timedelta(days=7)
    admit(key, now=DEADLINE)
    admit(key, now=week - timedelta(microseconds=1))
    assert finish(first, 5)
    admit(key, now=week + timedelta(hours=1))
    assert not finish(second, 5)
    row = DailyUsage.objects.get(day=NOON.date())
    assert (row.lost, row.finished, row.tokens) == (2, 1, 5)


def test_a_reservation_that_the_database_has_lost_is_counted_only_by_the_first_attempt() -> None:
    key = new_key()
    ended = admit(key).settlement(Outcome.FINISHED, prompt_tokens=3, completion_tokens=4)
    Reservation.objects.all().delete()
    assert admissions.settle([ended]) == 0
    assert admissions.settle([ended], new=[ended]) == 1
    assert DailyUsage.objects.get().tokens == 7


def test_a_reservation_with_the_number_of_another_is_not_taken_for_it() -> None:
    """A database that was restored gives a number again."""
    key = new_key()
    old = admit(key).settlement(Outcome.FINISHED, prompt_tokens=3, completion_tokens=4)
    Reservation.objects.update(deadline=DEADLINE + timedelta(seconds=1))
    assert admissions.settle([old]) == 0
    assert Reservation.objects.count() == 1


def test_several_requests_are_settled_at_once_each_on_its_day() -> None:
    keys = [new_key(), new_key()]
    ended = [
        admit(key, now=NOON + timedelta(days=days)).settlement(Outcome.FINISHED, completion_tokens=days + 1)
        for days in (1, 0)
        for key in (*keys, *reversed(keys))
    ]
    assert admissions.settle(ended) == 8
    assert admissions.settle(ended) == 0
    rows = DailyUsage.objects.order_by("day", "key_id").values_list("finished", "completion_tokens")
    assert list(rows) == [(2, 2), (2, 2), (2, 4), (2, 4)]


def test_settling_after_the_deadline_counts_if_the_request_is_not_lost_yet() -> None:
    key = new_key(tokens_per_day=100)
    admission = admit(key, 100)
    assert finish(admission, 90)
    assert admissions.give_back_overdue(now=NOON + timedelta(days=1)) == 0
    assert DailyUsage.objects.get().tokens == 90


def test_lowered_limits_apply_to_the_next_request_without_a_long_lockout() -> None:
    key = new_key(requests_per_minute=1000, burst=1000)
    for _ in range(1000):
        admit(key)
    key.requests_per_minute = key.burst = 1
    services.update_key(key=key, fields=["requests_per_minute", "burst"])
    assert refused(key).wait == 60
    admit(key, now=NOON + timedelta(seconds=60))


def test_a_clock_set_back_delays_a_request_by_at_most_one_interval() -> None:
    key = new_key(requests_per_minute=60, burst=1)
    admit(key, now=NOON + timedelta(hours=5))
    assert refused(key).wait == 1
    admit(key, now=NOON + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("of_key", "of_settings", "expected"),
    [(None, 0, None), (None, 5, 5), (0, 5, None), (3, 5, 3), (3, 0, 3)],
)
def test_a_key_without_a_limit_has_the_default_and_zero_is_unlimited(
    settings: Any, of_key: int | None, of_settings: int, expected: int | None
) -> None:
    settings.LLM_KEY_REQUESTS_PER_MINUTE = settings.LLM_KEY_BURST = of_settings
    settings.LLM_KEY_TOKENS_PER_DAY = settings.LLM_KEY_MAX_CONCURRENT = of_settings
    limits = Limits.of(new_key(**dict.fromkeys(LIMITS, of_key)))
    assert (limits.tokens_per_day, limits.max_concurrent) == (expected, expected)
    assert (limits.rate and limits.rate.per_minute) == expected
    assert (limits.rate and limits.rate.burst) == expected


def test_the_usage_of_an_unlimited_key_is_counted_too() -> None:
    key = new_key()
    for _ in range(3):
        finish(admit(key, 10**6), 7)
    assert (DailyUsage.objects.get().finished, DailyUsage.objects.get().tokens) == (3, 21)
