"""The commands on keys: their output for scripts, and the input that they refuse."""

import csv
import json
from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import services, tokens
from accounts.limits import admission
from accounts.models import APIKey, DailyUsage, KeyEvent, KeyState, Outcome, Scope
from accounts.secret_lookup import find_secret

pytestmark = pytest.mark.django_db


def run(*args: str) -> tuple[str, str]:
    """Run the command and return its stdout and stderr."""
    stdout, stderr = StringIO(), StringIO()
    call_command(*args, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def test_create_key_prints_only_the_secret_to_stdout() -> None:
    stdout, stderr = run("create_key", "search", "--owner", "Ada")
    secret = find_secret(stdout.removesuffix("\n"))
    assert secret is not None
    assert (secret.key.name, secret.key.owner) == ("search", "Ada")
    assert "search" in stderr
    assert stdout.strip() not in stderr
    assert KeyEvent.objects.get().actor.endswith("on the command line")


def test_every_property_of_a_key_can_be_given_as_an_option() -> None:
    before = timezone.now()
    run(
        *("create_key", "search", "--expires-in", "90d", "--requests-per-minute", "60", "--burst", "5"),
        *("--tokens-per-day", "unlimited", "--max-concurrent", "default", "--network", "10.0.0.0/8"),
        *("--network", "192.0.2.7", "--scope", "generate"),
    )
    key = APIKey.objects.get()
    assert key.expires_at is not None
    assert before + timedelta(days=90) <= key.expires_at <= timezone.now() + timedelta(days=90)
    assert (key.requests_per_minute, key.burst, key.tokens_per_day, key.max_concurrent) == (60, 5, 0, None)
    assert key.allowed_networks == ["10.0.0.0/8", "192.0.2.7/32"]
    assert key.scopes == [Scope.GENERATE]


@pytest.mark.parametrize(
    "args",
    [
        ["--requests-per-minute", "0"],
        ["--burst", "-1"],
        ["--tokens-per-day", "lots"],
        ["--tokens-per-day", "9999999999999999"],
        ["--network", "10.0.0.256"],
        ["--network", "10.0.0.1/8"],
        ["--scope", "everything"],
        ["--expires-in", "soon"],
        ["--expires-in", "0"],
        ["--expires-at", "2020-01-01"],
    ],
)
def test_invalid_options_are_refused_and_no_key_is_created(args: list[str]) -> None:
    with pytest.raises(CommandError):
        run("create_key", "search", *args)
    assert not APIKey.objects.exists()


def test_a_name_in_use_is_refused() -> None:
    run("create_key", "search")
    with pytest.raises(CommandError, match="already has"):
        run("create_key", "search")


def test_rotate_key_prints_only_the_new_secret_and_the_old_one_has_a_grace_period() -> None:
    first = services.create_key(name="search")
    stdout, stderr = run("rotate_key", "search", "--grace", "1h", "--reason", "yearly")
    second = find_secret(stdout.strip())
    assert second is not None
    assert second.expires_at is None
    assert find_secret(first.plaintext).is_live  # type: ignore[union-attr]
    assert KeyEvent.objects.latest("pk").details == {"grace_s": 3600, "reason": "yearly"}
    run("rotate_key", str(first.key.pk), "--grace", "0")
    assert not find_secret(stdout.strip()).is_live  # type: ignore[union-attr]
    assert stdout.strip() not in stderr


def test_revoking_is_permanent() -> None:
    services.create_key(name="search")
    stdout, stderr = run("revoke_key", "search", "--reason", "over")
    assert stdout == ""
    assert "Revoked" in stderr
    key = APIKey.objects.get()
    assert (key.state, key.revoked_reason) == (KeyState.REVOKED, "over")
    with pytest.raises(CommandError, match="permanent"):
        run("revoke_key", "search")


def test_a_name_finds_the_key_in_use_rather_than_a_revoked_one() -> None:
    old = services.create_key(name="search").key
    services.revoke(key=old)
    new = services.create_key(name="search").key
    run("revoke_key", "search")
    new.refresh_from_db()
    assert new.state is KeyState.REVOKED


@pytest.mark.parametrize(
    "command",
    ["rotate_key", "revoke_key", "disable_key", "enable_key", "end_grace", "key_events"],
)
def test_a_key_that_does_not_exist_is_an_error(command: str) -> None:
    for name in ("nothing", "999", "9" * 40):
        with pytest.raises(CommandError, match="list_keys"):
            run(command, name)


def test_the_list_shows_every_key_and_no_secret() -> None:
    first = services.create_key(name="search", owner="Ada", limits={"burst": 5})
    services.revoke(key=services.create_key(name="old").key)
    table = run("list_keys")[0]
    assert [line.split()[1] for line in table.splitlines()] == ["name", "search", "old"]
    keys = json.loads(run("list_keys", "--format", "json")[0])
    assert [(key["name"], key["state"]) for key in keys] == [("search", "active"), ("old", "revoked")]
    assert keys[0]["secrets"] == [str(first.secret)]
    assert keys[0]["limits"]["burst"] == 5
    active = json.loads(run("list_keys", "--format", "json", "--state", "active")[0])
    assert [key["name"] for key in active] == ["search"]
    assert first.plaintext not in table + str(keys)


def used(name: str, day: date, tokens_used: int) -> None:
    key = APIKey.objects.filter(name=name).first() or services.create_key(name=name).key
    DailyUsage.objects.create(key=key, day=day, finished=1, prompt_tokens=1, completion_tokens=tokens_used)


def test_csv_and_json_report_the_same_usage() -> None:
    today = timezone.now().date()
    used("search", today, 10)
    used("search", today - timedelta(days=29), 20)
    used("search", today - timedelta(days=30), 40)
    used("=other", today, 80)
    rows = list(csv.DictReader(StringIO(run("usage_report")[0])))
    objects = json.loads(run("usage_report", "--format", "json")[0])
    assert [int(row["total_tokens"]) for row in rows] == [21, 11, 81]
    assert [row["total_tokens"] for row in objects] == [21, 11, 81]
    assert [set(row) for row in rows] == [set(row) for row in objects]
    assert rows[2]["key"] == "'=other"
    of_one = json.loads(run("usage_report", "--format", "json", "--key", "=other")[0])
    assert [row["key"] for row in of_one] == ["=other"]


def test_a_report_can_be_limited_to_some_days() -> None:
    for number in (1, 2, 3, 4):
        used("search", date(2026, 1, number), number)
    args = ["usage_report", "--since", "2026-01-02", "--until", "2026-01-03", "--format", "json"]
    assert [row["day"] for row in json.loads(run(*args)[0])] == ["2026-01-02", "2026-01-03"]
    with pytest.raises(CommandError, match="after the last"):
        run("usage_report", "--since", "2026-01-02", "--until", "2026-01-01")


def test_a_report_counts_lost_requests(settings: Any) -> None:
    key = services.create_key(name="search").key
    admission.admit(key=key, tokens=10, timeout_s=1, now=timezone.now() - timedelta(hours=1))
    rows = json.loads(run("usage_report", "--format", "json", "--since", "2020-01-01")[0])
    assert [row[Outcome.LOST] for row in rows] == [1]


def test_every_new_secret_is_different_and_well_formed() -> None:
    secrets = {run("create_key", f"key {number}")[0].strip() for number in range(5)}
    assert len(secrets) == 5
    assert all(tokens.is_well_formed(secret) for secret in secrets)


def test_a_key_is_disabled_and_enabled_again_with_who_and_why() -> None:
    services.create_key(name="search")
    assert "Disabled" in run("disable_key", "search", "--reason", "incident 7")[1]
    key = APIKey.objects.get()
    assert (key.state, key.disabled_reason) == (KeyState.DISABLED, "incident 7")
    assert "Enabled" in run("enable_key", "search", "--reason", "solved")[1]
    key.refresh_from_db()
    assert key.state is KeyState.ACTIVE
    enabled, disabled, _ = KeyEvent.objects.all()
    assert [(event.kind, event.details["reason"]) for event in (disabled, enabled)] == [
        ("disabled", "incident 7"),
        ("enabled", "solved"),
    ]
    assert all(event.actor.endswith("on the command line") for event in (disabled, enabled))


def test_a_grace_period_is_ended() -> None:
    first = services.create_key(name="search")
    second = run("rotate_key", "search")[0].strip()
    run("end_grace", "search", "--reason", "all clients have switched")
    assert not find_secret(first.plaintext).is_live  # type: ignore[union-attr]
    assert find_secret(second).is_live  # type: ignore[union-attr]
    event = KeyEvent.objects.latest("pk")
    assert (event.kind, event.details) == ("grace_ended", {"reason": "all clients have switched"})
    with pytest.raises(CommandError, match="no secret in a grace period"):
        run("end_grace", "search")


@pytest.mark.parametrize("command", ["disable_key", "enable_key", "end_grace"])
def test_a_revoked_key_does_not_change(command: str) -> None:
    services.revoke(key=services.create_key(name="search").key)
    before = KeyEvent.objects.count()
    with pytest.raises(CommandError):
        run(command, "search")
    assert KeyEvent.objects.count() == before


def test_the_limits_that_are_given_change_and_the_others_stay() -> None:
    services.create_key(name="search", limits={"burst": 5, "tokens_per_day": 100, "max_concurrent": 2})
    options = ("--tokens-per-day", "unlimited", "--max-concurrent", "default")
    run("change_limits", "search", "--requests-per-minute", "60", *options)
    key = APIKey.objects.get()
    assert (key.requests_per_minute, key.burst, key.tokens_per_day, key.max_concurrent) == (60, 5, 0, None)
    event = KeyEvent.objects.latest("pk")
    assert event.kind == "limits_changed"
    assert event.details["limits"]["requests_per_minute"] == 60
    assert "burst" not in event.details["limits"]
    assert event.actor.endswith("on the command line")


@pytest.mark.parametrize("args", [(), ("--burst", "0"), ("--burst", "9999999999")])
def test_limits_that_cannot_be_are_refused(args: tuple[str, ...]) -> None:
    services.create_key(name="search", limits={"burst": 5})
    with pytest.raises(CommandError):
        run("change_limits", "search", *args)
    assert APIKey.objects.get().burst == 5


def test_the_events_of_a_key_and_of_all_keys_are_listed_the_latest_first() -> None:
    search = services.create_key(name="search").key
    services.create_key(name="other")
    services.disable(key=search, reason="incident 7")
    heading, *rows = run("key_events")[0].splitlines()
    assert heading.split() == ["at", "key", "event", "by", "from", "secret", "details"]
    assert ["search" in row for row in rows] == [True, False, True]
    assert "Disabled" in rows[0]
    assert "“incident 7”" in rows[0]
    objects = json.loads(run("key_events", "search", "--format", "json")[0])
    assert [(row["key"], row["event"]) for row in objects] == [("search", "disabled"), ("search", "created")]
    assert objects[0]["details"] == {"reason": "incident 7"}
    assert [row["event"] for row in json.loads(run("key_events", "--most", "1", "--format", "json")[0])] == [
        "disabled"
    ]


def test_how_long_an_old_secret_works_is_told_in_words() -> None:
    services.create_key(name="search")
    assert "The old secret works for 1 day more." in run("rotate_key", "search")[1]
