"""What a refusal by a limit says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import services
from accounts.limits import admission
from accounts.limits.policy import LimitExceeded, in_words
from accounts.models import APIKey, Outcome

pytestmark = pytest.mark.django_db

EVENING = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)


def new_key(**limits: int | None) -> services.IssuedSecret:
    return services.create_key(name=f"limited {APIKey.objects.count()}", limits=limits)


@pytest.mark.parametrize(
    ("wait_s", "words"),
    [
        (1, "1 second"),
        (95, "95 seconds"),
        (121, "3 min"),
        (3600, "1 h"),
        (3601, "1 h 1 min"),
        (78_900, "21 h 55 min"),
        (86_400, "24 h"),
    ],
)
def test_a_wait_is_rounded_up_to_units_that_people_use(wait_s: int, words: str) -> None:
    assert in_words(wait_s) == words


def refused(key: APIKey, tokens: int, now: datetime, *, timeout_s: float = 60) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as raised:
        admission.admit(key=key, tokens=tokens, timeout_s=timeout_s, now=now)
    return raised.value


def test_the_refusal_of_a_day_says_at_which_time_it_ends() -> None:
    key = new_key(tokens_per_day=10).key
    admission.admit(key=key, tokens=10, timeout_s=60, now=EVENING)
    error = refused(key, 10, EVENING)
    assert str(error.detail).endswith("Try again at 00:00 UTC (in 21 h 55 min).")
    assert (error.get_codes(), error.wait) == ("tokens_limit", 78_900)


@pytest.mark.parametrize(
    ("running_s", "wait_s"),
    [
        (0, 1),
        (7, 7),
        (29.5, 30),
        (100, 30),  # no longer than the official clients of OpenAI wait
        (175, 5),  # a request that was not settled gives its place back then
    ],
)
def test_a_place_is_expected_once_the_oldest_request_has_run_for_as_long_again(
    running_s: float, wait_s: int
) -> None:
    key = new_key(max_concurrent=2).key
    admission.admit(key=key, tokens=10, timeout_s=120, now=EVENING)
    now = EVENING + timedelta(seconds=running_s)
    admission.admit(key=key, tokens=10, timeout_s=120, now=now)
    error = refused(key, 10, now, timeout_s=120)
    assert error.wait == wait_s
    assert str(error.detail).endswith(f"try again in {in_words(wait_s)}, when one may have ended.")
    assert error.get_codes() == "concurrency_limit"


@given(runs_s=st.floats(0.1, 110))
@settings(max_examples=20, deadline=None)
def test_a_client_that_waits_as_told_gets_a_place_soon_after_it_is_free(runs_s: float) -> None:
    key = new_key(max_concurrent=1).key
    running = admission.admit(key=key, tokens=10, timeout_s=120, now=EVENING)
    waited_s = attempts = 0
    while waited_s < runs_s:
        error = refused(key, 10, EVENING + timedelta(seconds=waited_s), timeout_s=120)
        waited_s += error.wait
        attempts += 1
    admission.settle([running.settlement(Outcome.FINISHED)])
    admission.admit(key=key, tokens=10, timeout_s=120, now=EVENING + timedelta(seconds=waited_s))
    assert waited_s <= 2 * runs_s + 1
    assert attempts <= 9
