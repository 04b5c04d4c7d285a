"""Keys, admissions and settlements at a fixed noon, for the tests of limits."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts import services
from accounts.limits import admission as admissions
from accounts.limits.admission import SETTLE_TIME, Admission
from accounts.limits.policy import LimitExceeded
from accounts.models import APIKey, Outcome

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TIMEOUT_S = 120
DEADLINE = NOON + timedelta(seconds=TIMEOUT_S) + SETTLE_TIME
ENDS = [Outcome.FINISHED, Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT, Outcome.OVERLOADED]


def new_key(**limits: int | None) -> APIKey:
    return services.create_key(name=f"key {APIKey.objects.count()}", limits=limits).key


def admit(key: APIKey, tokens: int = 1, now: datetime = NOON) -> Admission:
    return admissions.admit(key=key, tokens=tokens, timeout_s=TIMEOUT_S, now=now)


def refused(key: APIKey, tokens: int = 1, now: datetime = NOON) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as refusal:
        admit(key, tokens, now)
    return refusal.value


def finish(admission: Admission, used: int) -> bool:
    return settle(admission, Outcome.FINISHED, prompt_tokens=1, completion_tokens=used - 1)


def settle(admission: Admission, outcome: Outcome, *, prompt_tokens: int, completion_tokens: int) -> bool:
    ended = admission.settlement(outcome, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    return bool(admissions.settle([ended]))
