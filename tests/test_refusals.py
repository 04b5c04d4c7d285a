"""Requests that are refused before admission count in the usage of their key, and against its limit."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.limits import ledger, unreserved
from accounts.limits.policy import LimitExceeded
from accounts.models import DailyUsage, Outcome
from accounts.services import IssuedSecret
from inference import runtime
from inference.engine.engine import Engine
from inference.engine.errors import Unavailable
from tests.problems import problem

pytestmark = pytest.mark.django_db
GOOD = {"prompt": "Once upon a time"}


@pytest.fixture
def issued() -> IssuedSecret:
    return services.create_key(name="search", limits={"tokens_per_day": 50})


def generate(client: Client, issued: IssuedSecret, body: Any = GOOD, **extra: Any) -> int:
    headers = {"X-API-Key": issued.plaintext}
    status: int = client.post("/generate", body, "application/json", headers=headers, **extra).status_code
    return status


def counts() -> dict[str, int]:
    rows = DailyUsage.objects.all()
    assert len(rows) <= 1
    return {name: count for row in rows for name in Outcome.values if (count := getattr(row, name))}


def test_invalid_requests_are_counted(client: Client, issued: IssuedSecret) -> None:
    assert generate(client, issued, {"prompt": 5}) == 422
    assert generate(client, issued, "{") == 400
    assert generate(client, issued, {**GOOD, "top": 1}) == 422
    assert counts() == {"invalid": 3}
    assert DailyUsage.objects.get().day == timezone.now().date()


def test_refusals_of_the_key_are_counted(client: Client, issued: IssuedSecret) -> None:
    key = issued.key
    key.scopes = ["usage"]
    services.update_key(key=key, fields=["scopes"])
    assert generate(client, issued) == 403
    key.scopes, key.allowed_networks = ["generate"], ["10.0.0.0/8"]
    services.update_key(key=key, fields=["scopes", "allowed_networks"])
    assert generate(client, issued) == 403
    newer = services.rotate(key=key, grace=timedelta(0))
    assert generate(client, issued) == 403
    services.revoke(key=key)
    assert generate(client, newer) == 403
    assert counts() == {"forbidden": 4}


def test_unknown_keys_and_other_addresses_are_not_counted(client: Client, issued: IssuedSecret) -> None:
    assert client.post("/generate", GOOD, "application/json").status_code == 403
    unknown = {"X-API-Key": "llms_" + "x" * 38}
    assert client.post("/generate", GOOD, "application/json", headers=unknown).status_code == 403
    own = {"X-API-Key": issued.plaintext}
    assert client.post("/keys/me/rotate", {"grace_s": -1}, "application/json", headers=own).status_code == 422
    assert client.get("/keys/me", headers=own).status_code == 200
    assert counts() == {}


def test_refusals_are_answered_and_counted_later_if_the_database_fails(
    client: Client, issued: IssuedSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError("disk full")

    with monkeypatch.context() as failing:
        failing.setattr(ledger, "account", fail)
        # A test's transaction is on it.
        failing.setattr("accounts.limits.tally.connection.close", lambda: None)
        assert generate(client, issued, {"prompt": 5}) == 422
        issued.key.scopes = ["usage"]
        services.update_key(key=issued.key, fields=["scopes"])
        assert generate(client, issued) == 403
    assert counts() == {}
    assert generate(client, issued) == 403
    assert counts() == {"invalid": 1, "forbidden": 2}


def test_usage_and_limit_are_counted_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError("disk full")

    key = services.create_key(name="limited", limits={"requests_per_minute": 1, "burst": 1}).key
    with monkeypatch.context() as failing:
        failing.setattr(ledger, "account", fail)
        with pytest.raises(DatabaseError):
            unreserved.count(key, Outcome.INVALID)
    unreserved.count(key, Outcome.INVALID)
    assert counts() == {"invalid": 1}


# --- The requests a minute


def new_key(**limits: int | None) -> IssuedSecret:
    return services.create_key(name="limited", limits=limits)


def post(client: Client, issued: IssuedSecret, body: Any) -> Any:
    return client.post(
        "/generate",
        body if isinstance(body, str) else json.dumps(body),
        content_type="application/json",
        headers={"X-API-Key": issued.plaintext},
    )


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
    assert counts() == {"invalid": 2, "refused": 1}
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
    now = timezone.now()
    key = new_key(requests_per_minute=1, burst=1).key
    unreserved.count(key, Outcome.INVALID, now=now)
    with pytest.raises(LimitExceeded):
        unreserved.count(key, Outcome.INVALID, now=now + timedelta(seconds=59))
    unreserved.count(key, Outcome.INVALID, now=now + timedelta(seconds=60))


def test_a_text_that_fits_no_schema_is_counted_once(client: Client, engine: Engine) -> None:
    issued = new_key(requests_per_minute=2, burst=2)
    nothing_fits = {"type": "integer", "minimum": 1, "maximum": 1, "not": {"minimum": 1}}
    body = {"prompt": "Once", "json_schema": nothing_fits, "seed": 1}
    response = post(client, issued, body)
    assert problem(response, 422)["code"] == "no_fitting_text"
    assert counts() == {"failed": 1}
    assert post(client, issued, {"prompt": "Once", "max_new_tokens": 1}).status_code == 200
