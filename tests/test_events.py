"""Every change of a key is recorded, with actor and address, and the record cannot be changed."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from accounts import secret_use, services
from accounts.events import Actor
from accounts.models import APIKey, APIKeySecret, EventKind, ImmutableError, KeyEvent

ADA = Actor(name="ada", address="192.0.2.7")
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


def kinds(key: APIKey) -> list[str]:
    return [event.kind for event in key.events.order_by("pk")]


def last(key: APIKey) -> KeyEvent:
    return key.events.latest("pk")


def test_the_events_of_a_key_are_recorded_in_order() -> None:
    key = services.create_key(name="search", by=ADA).key
    key.burst = 5
    services.update_key(key=key, fields=["burst"], by=ADA)
    services.rotate(key=key, grace=HOUR, reason="yearly", by=ADA)
    services.end_grace(key=key, by=ADA)
    services.disable(key=key, reason="holidays", by=ADA)
    services.enable(key=key, by=ADA)
    services.revoke(key=key, reason="the project is over", by=ADA)
    assert kinds(key) == [
        EventKind.CREATED,
        EventKind.LIMITS_CHANGED,
        EventKind.ROTATED,
        EventKind.GRACE_ENDED,
        EventKind.DISABLED,
        EventKind.ENABLED,
        EventKind.REVOKED,
    ]
    assert {(event.actor, event.address) for event in key.events.all()} == {("ada", "192.0.2.7")}
    assert last(key).details == {"reason": "the project is over"}
    assert key.events.get(kind=EventKind.ROTATED).details == {"grace_s": 3600, "reason": "yearly"}
    limits = key.events.get(kind=EventKind.LIMITS_CHANGED).details
    assert limits == {"limits": {"burst": 5}, "before": {"burst": None}}
    assert (key.revoked_by, key.revoked_reason) == ("ada", "the project is over")


def test_changes_of_limits_and_of_other_fields_are_separate_events() -> None:
    key = services.create_key(name="search").key
    key.name, key.tokens_per_day = "find", 100
    services.update_key(key=key, fields=["name", "tokens_per_day"], by=ADA)
    assert kinds(key) == [EventKind.CREATED, EventKind.LIMITS_CHANGED, EventKind.CHANGED]
    assert last(key).details == {"fields": {"name": "find"}, "before": {"name": "search"}}


def test_what_is_saved_as_it_was_is_not_recorded_as_changed() -> None:
    key = services.create_key(name="search", limits={"burst": 5}).key
    key.name = "find"
    services.update_key(key=key, fields=["name", "owner", "burst"], by=ADA)
    assert kinds(key) == [EventKind.CREATED, EventKind.CHANGED]
    assert last(key).details["fields"] == {"name": "find"}


@pytest.mark.parametrize(
    "change",
    [
        lambda key: services.revoke(key=key),
        lambda key: services.rotate(key=key, grace=HOUR),
        lambda key: services.end_grace(key=key),
    ],
)
def test_a_refused_change_records_no_event(change: Callable[[APIKey], object]) -> None:
    key = services.create_key(name="search").key
    services.revoke(key=key)
    before = kinds(key)
    with pytest.raises(services.KeyChangeError):
        change(key)
    assert kinds(key) == before


def test_the_first_use_of_a_secret_is_recorded_once_with_its_address(client: Client) -> None:
    issued = services.create_key(name="search")
    for _ in range(3):
        client.post("/generate", headers={"X-API-Key": issued.plaintext}, REMOTE_ADDR="192.0.2.1")
    event = issued.key.events.get(kind=EventKind.FIRST_USED)
    assert (event.secret, event.address) == (issued.secret, "192.0.2.1")
    assert event.actor == f"the holder of {issued.secret}"
    secret = APIKeySecret.objects.get()
    assert secret.last_used_from == "192.0.2.1"


def test_only_the_successor_of_a_rotation_is_told_as_new_when_it_is_first_used() -> None:
    first = services.create_key(name="search")
    second = services.rotate(key=first.key, grace=HOUR)
    now = timezone.now()
    secret_use.record_use(secret=first.secret, now=now)
    assert kinds(first.key)[-1] == EventKind.FIRST_USED
    secret_use.record_use(secret=second.secret, now=now)
    assert kinds(first.key)[-1] == EventKind.SUCCESSOR_USED
    assert last(first.key).get_kind_display() == "New secret first used"


def test_a_successor_that_was_replaced_before_its_first_use_is_not_told_as_new() -> None:
    key = services.create_key(name="search").key
    second = services.rotate(key=key, grace=timedelta(0))
    services.rotate(key=second.key, grace=HOUR)
    second.secret.refresh_from_db()
    secret_use.record_use(secret=second.secret, now=timezone.now())
    assert kinds(key)[-1] == EventKind.FIRST_USED
    assert last(key).get_kind_display() == "Secret first used"


def test_attempts_with_an_expired_secret_are_recorded_once_a_day() -> None:
    issued = services.create_key(name="search")
    now = timezone.now()
    for hours in (0, 1, 23, 25):
        secret = APIKeySecret.objects.get()
        secret_use.record_refusal(secret=secret, now=now + timedelta(hours=hours), address="192.0.2.1")
    assert issued.key.events.filter(kind=EventKind.REFUSED_EXPIRED).count() == 2


def test_only_attempts_after_expiry_are_recorded_as_such(client: Client) -> None:
    first = services.create_key(name="search")
    services.rotate(key=first.key, grace=timedelta(0))
    disabled = services.create_key(name="disabled")
    services.disable(key=disabled.key)
    for issued in (first, disabled):
        assert client.post("/generate", headers={"X-API-Key": issued.plaintext}).status_code == 403
    assert EventKind.REFUSED_EXPIRED in kinds(first.key)
    assert EventKind.REFUSED_EXPIRED not in kinds(disabled.key)


def test_no_event_contains_a_secret() -> None:
    first = services.create_key(name="search")
    second = services.rotate(key=first.key, grace=HOUR)
    recorded = str(list(KeyEvent.objects.values()))
    assert first.plaintext not in recorded
    assert second.plaintext not in recorded


def test_an_event_can_be_neither_changed_nor_deleted() -> None:
    event = last(services.create_key(name="search").key)
    with pytest.raises(ImmutableError):
        event.save()
    with pytest.raises(ImmutableError):
        event.delete()
    with pytest.raises(ImmutableError):
        KeyEvent.objects.update(actor="nobody")
    with pytest.raises(ImmutableError):
        KeyEvent.objects.all().delete()


def test_the_database_refuses_to_change_an_event() -> None:
    services.create_key(name="search", by=ADA)
    with (
        pytest.raises(DatabaseError, match="cannot be changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE accounts_keyevent SET actor = 'nobody'")
    assert KeyEvent.objects.get().actor == "ada"
