"""What a refusal by a limit says, and that refused requests count against the requests a minute."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import services
from accounts.limits import admission
from accounts.limits.policy import LimitExceeded, in_words
from accounts.limits.refusals import count_refused
from accounts.models import APIKey, DailyUsage
from inference import runtime
from inference.engine.engine import Engine
from inference.engine.errors import Unavailable
from tests.problems import problem

pytestmark = pytest.mark.django_db

EVENING = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)


def new_key(**limits: int | None) -> services.IssuedSecret:
    return services.create_key(name="limited", limits=limits)


def post(client: Client, issued: services.IssuedSecret, body: Any) -> Any:
    return client.post(
        "/generate",
        body if isinstance(body, str) else json.dumps(body),
        content_type="application/json",
        headers={"X-API-Key": issued.plaintext},
    )


# --- What it says


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


# --- What counts

WRONG = [
    "{",
    {"prompt": "a", "temperature": 9},
    {"prompt": "a" * 100_000},
    {"prompt": "a b c", "max_new_tokens": 150},  # more than the key may use in a day
]


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_a_refused_request_counts_against_the_requests_a_minute(
    client: Client, engine: Engine, body: Any
) -> None:
    issued = new_key(requests_per_minute=2, burst=2, tokens_per_day=120)
    for _ in range(2):
        response = post(client, issued, body)
        assert response.status_code in {400, 422}
    assert '"requests";r=0' in response["RateLimit"]

    document = problem(last := post(client, issued, body), 429)
    assert document["code"] == "requests_limit"
    assert int(last["Retry-After"]) > 0
    assert DailyUsage.objects.get().refused == 1
    good = {"prompt": "a", "max_new_tokens": 1}
    problem(post(client, issued, good), 429)


def test_an_admitted_request_counts_once(client: Client, engine: Engine) -> None:
    issued = new_key(requests_per_minute=2, burst=2)
    response = post(client, issued, {"prompt": "a", "max_new_tokens": 1})
    assert response.status_code == 200
    assert '"requests";r=1' in response["RateLimit"]


def test_a_failure_of_the_service_does_not_count_as_a_refusal(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading() -> Engine:
        raise Unavailable("The model is loading.")

    monkeypatch.setattr(runtime, "backend", loading)
    issued = new_key(requests_per_minute=2, burst=2)
    response = post(client, issued, {"prompt": "a", "max_new_tokens": 1})
    problem(response, 503)
    assert '"requests";r=2' in response["RateLimit"]


def test_the_requests_of_a_minute_come_back() -> None:
    key = new_key(requests_per_minute=1, burst=1).key
    count_refused(key, now=EVENING)
    with pytest.raises(LimitExceeded):
        count_refused(key, now=EVENING + timedelta(seconds=59))
    count_refused(key, now=EVENING + timedelta(seconds=60))
