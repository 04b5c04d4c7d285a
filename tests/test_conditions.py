from datetime import timedelta
from itertools import product

import pytest
from django.utils import timezone

from accounts.conditions import Condition, conditions_at, having
from accounts.models import APIKey, APIKeySecret

DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


def test_queries_by_condition_agree_with_conditions_at() -> None:
    now = timezone.now()
    combinations = product(
        (None, -DAY, timedelta(0), 14 * DAY, 14 * DAY + timedelta(seconds=1)),  # the key expires
        (None, now),  # it is disabled
        (None, now),  # it is revoked
        (timedelta(0), 30 * DAY),  # its age
        (None, 30 * DAY, 30 * DAY - timedelta(seconds=1)),  # the time since its secret was last used
        (None, timedelta(0), DAY),  # its secret expires
    )
    for index, (expires, disabled, revoked, age, used, secret_expires) in enumerate(combinations):
        key = APIKey.objects.create(
            name=f"{index}",
            expires_at=None if expires is None else now + expires,
            disabled_at=disabled,
            revoked_at=revoked,
            created_at=now - age,
        )
        APIKeySecret.objects.create(
            key=key,
            digest=f"{index}",
            prefix="",
            last_used_at=None if used is None else now - used,
            expires_at=None if secret_expires is None else now + secret_expires,
        )
    found = {condition: set(having(condition, now).values_list("pk", flat=True)) for condition in Condition}
    for key in APIKey.objects.prefetch_related("secrets"):
        assert [c for c in Condition if key.pk in found[c]] == conditions_at(key, now)
    assert all(found.values())


def test_a_key_that_is_not_active_has_no_conditions() -> None:
    now = timezone.now()
    key = APIKey.objects.create(name="old", created_at=now - 40 * DAY, expires_at=now + DAY)
    assert conditions_at(key, now) == [Condition.EXPIRING, Condition.UNUSED]
    key.disabled_at = now
    assert conditions_at(key, now) == []
