"""Limits, networks, scopes and wrong keys as a client sees them over HTTP."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import services, tokens
from accounts.limits import admission, attempts, settler
from accounts.limits.attempts import Purpose
from accounts.limits.policy import LimitExceeded
from accounts.models import AddressAllowance, DailyUsage, Outcome, Scope
from inference import runtime
from tests.models import tiny_engine
from tests.problems import problem

pytestmark = pytest.mark.django_db

MEMBER = re.compile(r'"(\w+)"((?:;\w+=(?:\d+|"[\w-]+"))*)')


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    runtime.install(tiny_engine())
    yield
    runtime.stop()


def generate(client: Client, secret: str, body: Any = None, **extra: Any) -> Any:
    body = {"prompt": "Once", "max_new_tokens": 2} if body is None else body
    return client.post("/generate", body, "application/json", headers={"X-API-Key": secret}, **extra)


def members(header: str) -> dict[str, dict[str, str]]:
    """Parse a list of strings with parameters (RFC 9651)."""
    parsed = {}
    for member in header.split(", "):
        match = MEMBER.fullmatch(member)
        assert match is not None, member
        parsed[match[1]] = dict(part.split("=") for part in match[2].split(";")[1:])
    return parsed


# Limits


def test_the_headers_report_the_limits_and_what_is_left(client: Client) -> None:
    limits = {"requests_per_minute": 60, "burst": 10, "tokens_per_day": 1000, "max_concurrent": 4}
    secret = services.create_key(name="search", limits=limits).plaintext
    response = generate(client, secret)
    assert response.status_code == 200
    assert members(response["RateLimit-Policy"]) == {
        "requests": {"q": "10", "w": "10"},
        "tokens": {"q": "1000", "w": "86400", "qu": '"tokens"'},
        "concurrency": {"q": "4", "qu": '"concurrent-requests"'},
    }
    used = response.json()["usage"]["total_tokens"]
    left = members(response["RateLimit"])
    assert left["requests"]["r"] == "9"
    assert left["tokens"]["r"] == str(1000 - used)
    assert 1 <= int(left["tokens"]["t"]) <= 86400
    assert left["concurrency"] == {"r": "4"}
    assert DailyUsage.objects.get().tokens == used


def test_an_answer_does_not_ask_a_database_that_is_away_for_what_is_left(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("away")

    def asked(*_: Any) -> None:
        pytest.fail("The answer waits for the database.")

    secret = services.create_key(name="search", limits={"tokens_per_day": 1000}).plaintext
    monkeypatch.setattr(admission, "standing_of", asked)
    with monkeypatch.context() as context:
        context.setattr(settler, "behind", lambda: True)
        response = generate(client, secret)
    assert response.status_code == 200
    assert "RateLimit" not in response
    monkeypatch.setattr("inference.metering.admit", fail)
    assert problem(generate(client, secret), 503)["detail"].startswith("The database")


def test_exceeding_the_rate_gives_429_with_the_wait_and_the_limits(client: Client) -> None:
    secret = services.create_key(name="search", limits={"requests_per_minute": 1}).plaintext
    assert generate(client, secret).status_code == 200
    response = generate(client, secret)
    assert "1 request a minute" in problem(response, 429)["detail"]
    assert 50 <= int(response["Retry-After"]) <= 60
    assert response["RateLimit-Policy"] == '"requests";q=1;w=60'
    assert members(response["RateLimit"])["requests"]["r"] == "0"
    row = DailyUsage.objects.get()
    assert (row.finished, row.refused) == (1, 1)


def test_using_up_the_tokens_of_a_day_gives_429_until_midnight(client: Client) -> None:
    issued = services.create_key(name="search", limits={"tokens_per_day": 20})
    now = timezone.now()
    done = admission.admit(key=issued.key, tokens=20, timeout_s=60, now=now)
    admission.settle([done.settlement(Outcome.FINISHED, prompt_tokens=10, completion_tokens=10)])
    response = generate(client, issued.plaintext)
    assert "20 tokens a day" in problem(response, 429)["detail"]
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert abs(int(response["Retry-After"]) - (midnight - timezone.now()).total_seconds()) < 60


def test_a_request_for_more_tokens_than_a_whole_day_gives_422(client: Client) -> None:
    secret = services.create_key(name="search", limits={"tokens_per_day": 20}).plaintext
    response = generate(client, secret, {"prompt": "Once", "max_new_tokens": 200})
    assert "20 in a whole day" in problem(response, 422)["detail"]
    assert "Retry-After" not in response


def test_too_many_concurrent_requests_give_429(client: Client) -> None:
    issued = services.create_key(name="search", limits={"max_concurrent": 1})
    admission.admit(key=issued.key, tokens=1, timeout_s=60)
    response = generate(client, issued.plaintext)
    assert "1 request running" in problem(response, 429)["detail"]
    assert 1 <= int(response["Retry-After"]) <= 30


@pytest.mark.parametrize("body", ["{", {}, {"prompt": "word " * 500}])
def test_an_invalid_request_uses_one_request_and_no_tokens(client: Client, body: Any) -> None:
    secret = services.create_key(name="search", limits={"requests_per_minute": 1}).plaintext
    response = generate(client, secret, body)
    assert response.status_code in {400, 422}
    assert members(response["RateLimit"])["requests"]["r"] == "0"
    used = DailyUsage.objects.get()
    assert (used.prompt_tokens, used.completion_tokens, used.invalid) == (0, 0, 1)


def test_a_key_without_limits_gets_no_limit_headers(client: Client) -> None:
    response = generate(client, services.create_key(name="search").plaintext)
    assert response.status_code == 200
    assert "RateLimit" not in response
    assert "RateLimit-Policy" not in response


def test_each_key_has_limits_of_its_own(client: Client) -> None:
    for name in ("one", "two"):
        secret = services.create_key(name=name, limits={"requests_per_minute": 1}).plaintext
        assert [generate(client, secret).status_code for _ in range(2)] == [200, 429]


def test_both_secrets_of_a_key_share_its_limits(client: Client) -> None:
    first = services.create_key(name="search", limits={"requests_per_minute": 1})
    second = services.rotate(key=first.key, grace=timedelta(hours=1))
    assert generate(client, first.plaintext).status_code == 200
    assert generate(client, second.plaintext).status_code == 429


# Networks and scopes


@pytest.mark.parametrize(
    ("networks", "address", "status"),
    [
        ([], "203.0.113.9", 200),
        (["203.0.113.9"], "203.0.113.9", 200),
        (["203.0.113.0/24"], "203.0.113.9", 200),
        (["203.0.113.0/24"], "203.0.114.9", 403),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", 200),
        (["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", 200),
        (["10.0.0.0/8", "2001:db8::/32"], "2001:db9::1", 403),
        (["10.0.0.0/8"], "", 403),
    ],
)
def test_a_key_works_only_from_its_networks(
    client: Client, networks: list[str], address: str, status: int
) -> None:
    issued = services.create_key(name="search", allowed_networks=networks)
    response = generate(client, issued.plaintext, REMOTE_ADDR=address)
    assert response.status_code == status
    if status == 403:
        assert "may not be used from" in problem(response, 403)["detail"]
        assert issued.key.secrets.get().last_used_at is None


def test_a_key_without_the_scope_cannot_generate(client: Client) -> None:
    secret = services.create_key(name="search", scopes=[Scope.USAGE]).plaintext
    assert "“generate”" in problem(generate(client, secret), 403)["detail"]
    used = DailyUsage.objects.get()
    assert (used.prompt_tokens, used.completion_tokens, used.forbidden) == (0, 0, 1)


# Wrong keys


def test_wrong_keys_are_limited_by_address_and_a_valid_key_is_not(client: Client, settings: Any) -> None:
    settings.LLM_FAILURES_PER_MINUTE = 3
    valid = services.create_key(name="search").plaintext
    for _ in range(3):
        problem(generate(client, tokens.generate()), 403)
    response = generate(client, tokens.generate())
    assert "Too many wrong keys" in problem(response, 429)["detail"]
    assert 1 <= int(response["Retry-After"]) <= 20
    assert generate(client, valid).status_code == 200
    problem(generate(client, tokens.generate(), REMOTE_ADDR="192.0.2.1"), 403)


def test_an_address_regains_attempts_over_time(settings: Any) -> None:
    settings.LLM_FAILURES_PER_MINUTE = 6
    now = timezone.now()
    for _ in range(6):
        attempts.count(Purpose.AUTHENTICATION, "192.0.2.1", now=now)
    with pytest.raises(LimitExceeded) as refusal:
        attempts.count(Purpose.AUTHENTICATION, "192.0.2.1", now=now)
    assert refusal.value.wait == 10
    attempts.count(Purpose.AUTHENTICATION, "192.0.2.1", now=now + timedelta(seconds=10))
    with pytest.raises(LimitExceeded):
        attempts.count(Purpose.AUTHENTICATION, "192.0.2.1", now=now + timedelta(seconds=10))


def test_an_ipv6_network_counts_as_one_address(settings: Any) -> None:
    settings.LLM_FAILURES_PER_MINUTE = 1
    now = timezone.now()
    attempts.count(Purpose.AUTHENTICATION, "2001:db8::1", now=now)
    with pytest.raises(LimitExceeded):
        attempts.count(Purpose.AUTHENTICATION, "2001:db8::2:1", now=now)
    attempts.count(Purpose.AUTHENTICATION, "2001:db8:0:1::1", now=now)


def test_a_flood_of_wrong_keys_writes_nothing(settings: Any) -> None:
    settings.LLM_FAILURES_PER_MINUTE = 1
    now = timezone.now()
    attempts.count(Purpose.AUTHENTICATION, "192.0.2.1", now=now)
    with CaptureQueriesContext(connection) as queries, pytest.raises(LimitExceeded):
        attempts.count(Purpose.AUTHENTICATION, "192.0.2.1", now=now)
    assert len(queries) == 1


def test_addresses_without_recent_attempts_are_deleted(settings: Any) -> None:
    now = timezone.now()
    for number in range(5):
        attempts.count(Purpose.AUTHENTICATION, f"192.0.2.{number}", now=now)
    attempts.count(Purpose.AUTHENTICATION, "192.0.2.9", now=now + timedelta(hours=1))
    assert [row.address for row in AddressAllowance.objects.all()] == ["192.0.2.9"]


def test_without_a_limit_no_address_is_stored(client: Client, settings: Any) -> None:
    settings.LLM_FAILURES_PER_MINUTE = 0
    for _ in range(50):
        problem(generate(client, tokens.generate()), 403)
    assert not AddressAllowance.objects.exists()
