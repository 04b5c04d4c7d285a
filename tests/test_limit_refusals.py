"""What a refusal by a limit says."""

from datetime import UTC, datetime

import pytest

from accounts import services
from accounts.limits import admission
from accounts.limits.policy import LimitExceeded, in_words
from accounts.models import APIKey

pytestmark = pytest.mark.django_db

EVENING = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)


def new_key(**limits: int | None) -> services.IssuedSecret:
    return services.create_key(name="limited", limits=limits)


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


def refused(key: APIKey, tokens: int, now: datetime) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as raised:
        admission.admit(key=key, tokens=tokens, timeout_s=7200, now=now)
    return raised.value


def test_the_refusal_of_a_day_says_at_which_time_it_ends() -> None:
    key = new_key(tokens_per_day=10).key
    admission.admit(key=key, tokens=10, timeout_s=60, now=EVENING)
    error = refused(key, 10, EVENING)
    assert str(error.detail).endswith("Try again at 00:00 UTC (in 21 h 55 min).")
    assert (error.get_codes(), error.wait) == ("tokens_limit", 78_900)


def test_the_refusal_of_a_long_request_says_how_long_in_hours() -> None:
    key = new_key(max_concurrent=1).key
    admission.admit(key=key, tokens=10, timeout_s=7200, now=EVENING)
    error = refused(key, 10, EVENING)
    assert str(error.detail).endswith("in at most 2 h 1 min.")
    assert error.get_codes() == "concurrency_limit"
