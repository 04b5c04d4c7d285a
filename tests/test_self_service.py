"""What the holder of a key can do over the API."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services, tokens
from accounts.limits import admission
from accounts.models import APIKey, APIKeySecret, EventKind, KeyEvent, Outcome, Scope
from tests.problems import problem

pytestmark = pytest.mark.django_db


def me(client: Client, secret: str) -> Any:
    return client.get("/keys/me", headers={"X-API-Key": secret})


def rotate(client: Client, secret: str, **body: Any) -> Any:
    return client.post("/keys/me/rotate", body, "application/json", headers={"X-API-Key": secret})


def report(client: Client, secret: str, **extra: Any) -> Any:
    return client.post("/keys/revoke", {"secret": secret}, "application/json", **extra)


# GET /keys/me


def test_a_key_can_see_its_name_its_limits_and_what_is_left(client: Client) -> None:
    limits = {"requests_per_minute": 60, "burst": 10, "tokens_per_day": 1000, "max_concurrent": 3}
    limits |= {"max_tokens": 500}
    issued = services.create_key(name="search", limits=limits, allowed_networks=["127.0.0.0/8"])
    done = admission.admit(key=issued.key, tokens=100, timeout_s=60)
    admission.settle([done.settlement(Outcome.FINISHED, prompt_tokens=7, completion_tokens=11)])
    admission.admit(key=issued.key, tokens=200, timeout_s=60)
    response = me(client, issued.plaintext)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["name"], answer["state"], answer["secret"]) == ("search", "active", str(issued.secret))
    assert answer["limits"] == limits
    assert answer["left"] == {"requests": 8, "tokens": 1000 - 18 - 200, "concurrent": 2}
    today = answer["today"]
    assert (today["prompt_tokens"], today["completion_tokens"], today["reserved_tokens"]) == (7, 11, 200)
    assert today["requests"] == dict.fromkeys(Outcome.values, 0) | {"finished": 1}
    assert answer["allowed_networks"] == ["127.0.0.0/8"]
    assert answer["scopes"] == Scope.values
    assert response["RateLimit"].startswith('"requests";r=8;t=')


def test_unlimited_is_null(client: Client) -> None:
    answer = me(client, services.create_key(name="search").plaintext).json()
    assert set(answer["limits"].values()) == set(answer["left"].values()) == {None}


def test_looking_does_not_count_towards_the_limits(client: Client) -> None:
    secret = services.create_key(name="search", limits={"requests_per_minute": 1}).plaintext
    answers = [me(client, secret).json()["left"]["requests"] for _ in range(3)]
    assert answers == [1, 1, 1]


# POST /keys/me/rotate


def test_rotating_returns_a_new_secret_and_the_old_one_has_a_grace_period(client: Client) -> None:
    first = services.create_key(name="search")
    before = timezone.now()
    response = rotate(client, first.plaintext, grace_s=3600)
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    answer = response.json()
    assert tokens.is_well_formed(answer["secret"])
    assert answer["old_secret"] == str(first.secret)
    old = APIKeySecret.objects.get(pk=first.secret.pk)
    assert old.expires_at is not None
    assert old.expires_at >= before + timedelta(hours=1)
    assert me(client, first.plaintext).json()["secret_expires_at"] is not None
    assert me(client, answer["secret"]).json()["secret_expires_at"] is None
    event = KeyEvent.objects.get(kind=EventKind.ROTATED)
    assert (event.actor, event.address) == (f"the holder of {first.secret}", "127.0.0.1")


def test_an_empty_body_means_the_documented_grace_period(client: Client) -> None:
    document = client.get("/schema").json()
    operation = document["paths"]["/keys/me/rotate"]["post"]
    assert "required" not in operation["requestBody"]
    assert "an empty body means one day" in operation["description"]
    default = document["components"]["schemas"]["RotateRequest"]["properties"]["grace_s"]["default"]

    first = services.create_key(name="search")
    answer = client.generic("POST", "/keys/me/rotate", headers={"X-API-Key": first.plaintext})
    assert answer.status_code == 200

    first.secret.refresh_from_db()
    assert first.secret.expires_at is not None
    left = first.secret.expires_at - timezone.now()
    assert default - 60 < left.total_seconds() <= default == 24 * 60 * 60


def test_without_a_grace_period_the_old_secret_stops_at_once(client: Client) -> None:
    first = services.create_key(name="search")
    new = rotate(client, first.plaintext, grace_s=0).json()["secret"]
    assert me(client, first.plaintext).status_code == 403
    assert me(client, new).status_code == 200


def test_the_grace_period_is_a_day_by_default(client: Client) -> None:
    first = services.create_key(name="search")
    rotate(client, first.plaintext)
    assert KeyEvent.objects.get(kind=EventKind.ROTATED).details == {"grace_s": 86400}


def test_an_old_secret_in_its_grace_period_cannot_rotate(client: Client) -> None:
    first = services.create_key(name="search")
    rotate(client, first.plaintext)
    assert "newest" in problem(rotate(client, first.plaintext, grace_s=0), 409)["detail"]
    assert APIKeySecret.objects.count() == 2


def test_a_third_live_secret_is_refused(client: Client) -> None:
    first = services.create_key(name="search")
    new = rotate(client, first.plaintext).json()["secret"]
    assert "two live secrets" in problem(rotate(client, new), 409)["detail"]


def test_a_grace_period_out_of_range_is_refused(client: Client) -> None:
    secret = services.create_key(name="search").plaintext
    for grace in (-1, 31 * 86400, "1h"):
        assert problem(rotate(client, secret, grace_s=grace), 422)["errors"][0]["field"] == "grace_s"
    assert APIKeySecret.objects.count() == 1


# POST /keys/revoke


def test_a_leaked_secret_stops_at_once_and_the_key_does_not(client: Client) -> None:
    first = services.create_key(name="search")
    second = services.rotate(key=first.key, grace=timedelta(hours=1))
    assert report(client, first.plaintext).status_code == 200
    assert "leaked" in problem(me(client, first.plaintext), 403)["detail"]
    assert me(client, second.plaintext).status_code == 200
    event = KeyEvent.objects.get(kind=EventKind.SECRET_REVOKED)
    assert (event.secret, event.details) == (first.secret, {"reason": "reported as leaked"})


def test_secrets_created_with_a_leaked_secret_are_revoked_with_it(client: Client) -> None:
    stolen = services.create_key(name="search").plaintext
    made = rotate(client, stolen, grace_s=0).json()["secret"]
    made_again = rotate(client, made, grace_s=3600).json()["secret"]
    report(client, stolen)
    for secret in (stolen, made, made_again):
        assert me(client, secret).status_code == 403
    assert APIKey.objects.get().state == "active"


def test_the_answer_does_not_reveal_whether_the_secret_exists(client: Client) -> None:
    ours = services.create_key(name="search").plaintext
    reports = [
        report(client, secret) for secret in (ours, ours, tokens.generate(), "llms_junk", "x", "two words")
    ]
    for answer in reports:
        del answer.headers["X-Request-ID"]  # random
    assert {(r.status_code, r.content, tuple(sorted(r.headers.items()))) for r in reports} == {
        (200, reports[0].content, tuple(sorted(reports[0].headers.items())))
    }


def test_reports_are_limited_by_address_and_those_from_other_addresses_still_work(
    client: Client, settings: Any
) -> None:
    settings.LLM_FAILURES_PER_MINUTE = 3
    ours = services.create_key(name="search").plaintext
    for _ in range(3):
        assert report(client, tokens.generate(), REMOTE_ADDR="192.0.2.1").status_code == 200
    refused = report(client, ours, REMOTE_ADDR="192.0.2.1")
    assert "Too many" in problem(refused, 429)["detail"]
    assert 1 <= int(refused["Retry-After"]) <= 20
    assert me(client, ours).status_code == 200
    assert report(client, ours, REMOTE_ADDR="192.0.2.2").status_code == 200
    assert me(client, ours).status_code == 403
