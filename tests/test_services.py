import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts import secret_use, services, tokens
from accounts.models import APIKey, APIKeySecret, KeyState
from accounts.secret_lookup import find_secret

HOUR = timedelta(hours=1)


def live_secrets(key: APIKey, now: datetime | None = None) -> list[APIKeySecret]:
    return list(APIKeySecret.objects.filter(key=key).live(now))


def together(count: int, function: Callable[[int], object]) -> list[object]:
    """Call the function in `count` threads at once; returns what each call returned or raised."""
    results: list[object] = [None] * count
    barrier = threading.Barrier(count)

    def call(index: int) -> None:
        barrier.wait()
        try:
            results[index] = function(index)
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db
def test_only_the_digest_of_a_new_secret_is_stored() -> None:
    issued = services.create_key(name="search", owner="Ada")
    secret = APIKeySecret.objects.get(key__name="search")
    assert tokens.is_well_formed(issued.plaintext)
    assert secret.digest == tokens.digest(issued.plaintext)
    assert issued.plaintext.startswith(secret.prefix)
    assert secret.expires_at is None
    assert issued.key.state is KeyState.ACTIVE


@pytest.mark.django_db
def test_the_repr_of_an_issued_secret_does_not_contain_it() -> None:
    issued = services.create_key(name="search")
    assert issued.plaintext not in repr(issued)


@pytest.mark.django_db
def test_keys_in_use_have_different_names() -> None:
    first = services.create_key(name="search")
    with pytest.raises(services.KeyChangeError, match="search"):
        services.create_key(name="search")
    services.revoke(key=first.key)
    services.create_key(name="search")


@pytest.mark.django_db
def test_rotation_adds_a_secret_and_the_old_one_has_a_grace_period() -> None:
    first = services.create_key(name="search")
    before = timezone.now()
    second = services.rotate(key=first.key, grace=HOUR)
    old = APIKeySecret.objects.get(pk=first.secret.pk)
    assert old.expires_at is not None
    assert before + HOUR <= old.expires_at <= timezone.now() + HOUR
    assert second.secret.expires_at is None
    assert live_secrets(first.key) == [second.secret, old]
    assert live_secrets(first.key, old.expires_at) == [second.secret]


@pytest.mark.django_db
def test_rotation_without_a_grace_period_ends_all_older_secrets_at_once() -> None:
    key = services.create_key(name="search").key
    services.rotate(key=key, grace=HOUR)
    third = services.rotate(key=key, grace=timedelta(0))
    assert live_secrets(key) == [third.secret]


@pytest.mark.django_db
def test_a_third_live_secret_is_refused_and_changes_nothing() -> None:
    key = services.create_key(name="search").key
    services.rotate(key=key, grace=HOUR)
    before = list(APIKeySecret.objects.values())
    with pytest.raises(services.KeyChangeError, match="two live secrets"):
        services.rotate(key=key, grace=HOUR)
    assert list(APIKeySecret.objects.values()) == before
    assert APIKey.objects.get().rotations == 1


@pytest.mark.django_db
def test_rotation_never_postpones_the_end_of_a_secret() -> None:
    key = services.create_key(name="search").key
    secret = APIKeySecret.objects.get()
    soon = timezone.now() + timedelta(minutes=1)
    APIKeySecret.objects.filter(pk=secret.pk).update(expires_at=soon)
    services.rotate(key=key, grace=HOUR)
    assert APIKeySecret.objects.get(pk=secret.pk).expires_at == soon


@pytest.mark.django_db
def test_a_rotation_of_a_key_that_was_rotated_since_is_refused() -> None:
    key = services.create_key(name="search").key
    seen = APIKey.objects.get()
    services.rotate(key=key, grace=HOUR)
    with pytest.raises(services.KeyChangeError, match="has been rotated"):
        services.rotate(key=seen, grace=timedelta(0))


@pytest.mark.django_db
def test_a_negative_grace_period_is_an_error() -> None:
    key = services.create_key(name="search").key
    with pytest.raises(ValueError, match="negative"):
        services.rotate(key=key, grace=-HOUR)


@pytest.mark.django_db
def test_a_revoked_or_expired_key_cannot_be_rotated() -> None:
    revoked = services.create_key(name="revoked").key
    services.revoke(key=revoked)
    expired = services.create_key(name="expired", expires_at=timezone.now() - HOUR).key
    for key, word in ((revoked, "revoked"), (expired, "expired")):
        with pytest.raises(services.KeyChangeError, match=word):
            services.rotate(key=key, grace=HOUR)
    assert APIKeySecret.objects.count() == 2


@pytest.mark.django_db
def test_disabling_can_be_undone_and_revoking_cannot() -> None:
    key = services.create_key(name="search").key
    states = []
    for change in (services.disable, services.enable, services.revoke):
        change(key=key)
        states.append(key.state)
    assert states == [KeyState.DISABLED, KeyState.ACTIVE, KeyState.REVOKED]
    for change in (services.disable, services.enable, services.revoke):
        with pytest.raises(services.KeyChangeError, match="revoked"):
            change(key=key)
    assert APIKey.objects.get().state is KeyState.REVOKED


@pytest.mark.django_db
def test_updating_a_key_keeps_concurrent_changes_to_its_other_fields() -> None:
    key = services.create_key(name="search").key
    services.disable(key=APIKey.objects.get())
    key.name = "renamed"
    services.update_key(key=key, fields=["name"])
    kept = APIKey.objects.get()
    assert (kept.name, kept.state) == ("renamed", KeyState.DISABLED)


@pytest.mark.django_db
def test_queries_by_state_agree_with_state_at() -> None:
    now = timezone.now()
    times = (None, now - HOUR, now, now + HOUR)
    for index, (expires, disabled, revoked) in enumerate(product(times, (None, now), (None, now))):
        APIKey.objects.create(name=f"{index}", expires_at=expires, disabled_at=disabled, revoked_at=revoked)
    for key in APIKey.objects.all():
        found = [
            state for state in KeyState if APIKey.objects.in_state(state, now).filter(pk=key.pk).exists()
        ]
        assert found == [key.state_at(now)]


@pytest.mark.django_db
def test_a_key_with_secrets_cannot_be_deleted() -> None:
    key = services.create_key(name="search").key
    with pytest.raises(ProtectedError):
        key.delete()


@pytest.mark.django_db
def test_the_last_use_is_recorded_at_most_once_per_minute() -> None:
    secret = services.create_key(name="search").secret
    start = timezone.now()
    written = []
    for seconds in (0, 1, 59, 60, 100, 121):
        secret.refresh_from_db()
        secret_use.record_use(secret=secret, now=start + timedelta(seconds=seconds))
        secret.refresh_from_db()
        assert secret.last_used_at is not None
        written.append((secret.last_used_at - start).total_seconds())
    assert written == [0, 0, 0, 60, 60, 121]


@pytest.mark.django_db
def test_one_digest_belongs_to_one_secret() -> None:
    secret = services.create_key(name="search").secret
    other = services.create_key(name="other").key
    with pytest.raises(IntegrityError), transaction.atomic():
        APIKeySecret.objects.create(key=other, digest=secret.digest, prefix="")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("grace", [HOUR, timedelta(0)])
def test_of_concurrent_rotations_one_succeeds(grace: timedelta) -> None:
    key = services.create_key(name="search").key
    seen = [APIKey.objects.get(pk=key.pk) for _ in range(4)]
    results = together(4, lambda index: services.rotate(key=seen[index], grace=grace))
    issued = [result for result in results if isinstance(result, services.IssuedSecret)]
    refused = [result for result in results if isinstance(result, services.KeyChangeError)]
    assert (len(issued), len(refused)) == (1, 3)
    found = find_secret(issued[0].plaintext)
    assert found is not None
    assert found.is_live
    assert APIKeySecret.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_together_create_the_first_key_once() -> None:
    results = together(4, lambda _: services.create_first_key(secret="mysecurekey123"))
    assert sum(isinstance(result, APIKey) for result in results) == 1
    assert sum(result is None for result in results) == 3
    assert APIKey.objects.count() == APIKeySecret.objects.count() == 1


@pytest.mark.django_db
def test_the_first_key_is_not_created_again_once_it_is_revoked() -> None:
    key = services.create_first_key(secret="mysecurekey123")
    assert key is not None
    services.revoke(key=key)
    assert services.create_first_key(secret="mysecurekey123") is None


@pytest.mark.django_db
def test_a_first_key_that_cannot_be_sent_in_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be the secret"):
        services.create_first_key(secret="two words")
    assert not APIKey.objects.exists()
