"""Requests refused for want of room are in the usage of their keys, without a reservation or a wait."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError

from accounts import services
from accounts.limits import ledger, tally
from accounts.models import APIKey, DailyUsage, Outcome, Reservation
from inference.engine.engine import Engine
from inference.engine.errors import Overloaded
from inference.metering import Metered, prepared
from tests.metering import request
from tests.models import tiny_engine
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", limits={"requests_per_minute": 1}).key


def overloaded() -> dict[int, int]:
    return dict(DailyUsage.objects.values_list("key_id", "overloaded"))


def test_a_refusal_reserves_nothing_takes_no_request_of_the_minute_and_counts(key: APIKey) -> None:
    class Full(Engine):
        def check_room(self, owner: str) -> None:
            raise Overloaded(retry_after_s=3)

    engine = tiny_engine(start=False)
    engine.__class__ = Full
    for _ in range(3):
        with pytest.raises(Overloaded):
            Metered(key=key, backend=engine, requests=[request()])
    assert overloaded() == {key.pk: 3}
    assert not Reservation.objects.exists()
    services.create_key(name="other")
    with pytest.raises(Overloaded):  # of a chat as well, which is prepared first
        prepared(request(), key=key, backend=engine)
    assert overloaded() == {key.pk: 4}
    with pytest.raises(Overloaded):  # not LimitExceeded
        Metered(key=key, backend=engine, requests=[request()])


def test_what_the_database_does_not_take_is_written_later(
    key: APIKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise DatabaseError("It is away.")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "account", fails)
        patched.setattr(
            "accounts.limits.tally.connection.close", lambda: None
        )  # a test's transaction is on it
        tally.count(key.pk, Outcome.OVERLOADED)
    assert overloaded() == {}
    tally.count(key.pk, Outcome.OVERLOADED)
    assert overloaded() == {key.pk: 2}


@pytest.mark.django_db(transaction=True)
def test_a_key_that_the_database_lacks_does_not_keep_the_others_from_being_counted(
    key: APIKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tally, "_thread", "writes later")
        for counted in (key.pk + 1, key.pk):
            tally.count(counted, Outcome.OVERLOADED)
    tally.write()
    assert overloaded() == {key.pk: 1}
    tally.count(key.pk, Outcome.OVERLOADED)
    assert overloaded() == {key.pk: 2}


@pytest.mark.django_db(transaction=True)
class TestThread:
    @pytest.fixture(autouse=True)
    def thread(self) -> Iterator[None]:
        tally.start()
        yield
        tally.stop()

    def test_a_thread_writes_the_sums(self, key: APIKey) -> None:
        other = services.create_key(name="other").key
        for counted in (key, other, key):
            tally.count(counted.pk, Outcome.OVERLOADED)
        assert overloaded() == {}
        wait_for(lambda: overloaded() == {key.pk: 2, other.pk: 1})

    def test_the_end_writes_what_there_is(self, key: APIKey) -> None:
        tally.count(key.pk, Outcome.OVERLOADED)
        tally.stop()
        assert overloaded() == {key.pk: 1}
