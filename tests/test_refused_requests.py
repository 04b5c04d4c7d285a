"""Requests that are refused before they are admitted are counted in the usage of their key."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.limits import ledger
from accounts.models import DailyUsage, Outcome
from accounts.services import IssuedSecret

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


def test_a_refusal_is_answered_also_if_it_cannot_be_counted(
    client: Client, issued: IssuedSecret, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(ledger, "account", fail)
    assert generate(client, issued, {"prompt": 5}) == 422
    assert f"A refused request of key {issued.key.pk} was not counted: disk full" in caplog.text
