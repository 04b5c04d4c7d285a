"""Usage by endpoint and how long requests took: counted in the statements that count a request anyway."""

import importlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import services
from accounts.latency import Latency, Measure
from accounts.limits import admission
from accounts.limits.admission import Admission
from accounts.limits.journal import Journal
from accounts.limits.policy import LimitExceeded
from accounts.limits.settlement import Settlement
from accounts.models import UNKNOWN_ENDPOINT, APIKey, DailyUsage, Outcome
from tests.openai_api import PROMPT, USER, refused

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def limited() -> APIKey:
    limits = {"requests_per_minute": 60, "tokens_per_day": 1000, "max_concurrent": 2}
    return services.create_key(name="search", limits=limits).key


def admit(key: APIKey, endpoint: str, now: datetime = NOON) -> Admission:
    return admission.admit(key=key, tokens=400, timeout_s=60, endpoint=endpoint, now=now)


def row(endpoint: str) -> DailyUsage:
    return DailyUsage.objects.get(endpoint=endpoint)


def latency(used: DailyUsage, measure: Measure) -> Latency | None:
    return Latency.of([getattr(used, name) for name in measure.columns])


# Over HTTP


def test_each_request_counts_for_the_address_that_it_was_sent_to(call: Any, client: Client, key: str) -> None:
    call("completions", prompt=PROMPT, max_tokens=3, ignore_eos=True)
    call("chat/completions", messages=USER, max_tokens=2, ignore_eos=True, n=2)
    refused(call("chat/completions", messages=[]), 400)
    body = json.dumps({"prompt": PROMPT, "max_new_tokens": 1})
    client.post("/generate", body, content_type="application/json", headers={"X-API-Key": key})

    used = {
        one.endpoint: (one.finished, one.invalid, one.completion_tokens) for one in DailyUsage.objects.all()
    }
    assert used == {
        "/v1/completions": (1, 0, 3),
        "/v1/chat/completions": (1, 1, 4),
        "/generate": (1, 0, 1),
    }
    today = client.get("/keys/me", headers={"X-API-Key": key}).json()["today"]
    assert today["endpoints"]["/v1/chat/completions"]["requests"] == 2
    assert today["endpoints"]["/v1/completions"]["completion_tokens"] == 3
    assert (today["requests"]["finished"], today["completion_tokens"]) == (3, 8)


def test_finished_requests_are_timed_and_refused_ones_are_not(call: Any) -> None:
    for _ in range(3):
        call("completions", prompt=PROMPT, max_tokens=2, ignore_eos=True)
    refused(call("completions", prompt=""), 400)
    call("completions", prompt=PROMPT, max_tokens=0, echo=True)
    used = row("/v1/completions")
    first, total = latency(used, Measure.FIRST_TOKEN), latency(used, Measure.TOTAL)
    assert first is not None
    assert total is not None
    assert (first.count, total.count) == (3, 4)
    assert first.mean_ms <= total.mean_ms * 4 / 3


# Limits and accounts


def test_the_tokens_of_a_day_are_those_of_all_endpoints(limited: APIKey) -> None:
    for endpoint in ("/a", "/b"):
        done = admit(limited, endpoint).settlement(Outcome.FINISHED, prompt_tokens=301)
        admission.settle([done])
    with pytest.raises(LimitExceeded):
        admit(limited, "/c")
    assert row("/c").refused == 1
    assert admission.standing_of(limited, now=NOON).used_tokens == 602


def test_a_lost_request_counts_at_its_endpoint_and_is_found_there(limited: APIKey) -> None:
    lost, later = admit(limited, "/a"), NOON + timedelta(hours=1)
    assert admission.give_back_overdue(now=later) == 1
    assert (row("/a").lost, row("/a").finished) == (1, 0)
    admission.settle([lost.settlement(Outcome.FINISHED, prompt_tokens=5)])
    assert (row("/a").lost, row("/a").finished) == (0, 1)


def test_an_admission_that_finds_lost_requests_counts_them_too(limited: APIKey) -> None:
    for endpoint in ("/b", "/a"):
        admit(limited, endpoint)
    admit(limited, "/c", NOON + timedelta(hours=1))
    assert [row(endpoint).lost for endpoint in ("/a", "/b")] == [1, 1]


def test_requests_of_several_endpoints_are_settled_together(limited: APIKey) -> None:
    ended = [
        admit(limited, endpoint).settlement(Outcome.FINISHED, prompt_tokens=tokens, total_ms=ms)
        for endpoint, tokens, ms in (("/b", 1, 30), ("/a", 2, 15))
    ]
    assert admission.settle(ended) == 2
    assert admission.settle(ended) == 0
    assert (row("/a").prompt_tokens, row("/b").prompt_tokens) == (2, 1)
    assert (row("/a").total_to_20, row("/b").total_to_40, row("/b").total_ms) == (1, 1, 30)  # type: ignore[attr-defined]


def test_endpoint_and_times_cost_no_query_more(
    limited: APIKey, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """A transaction's begin and end count; PostgreSQL locks the allowance, SQLite the database."""
    admission.settle([admit(limited, "/a").settlement(Outcome.FINISHED)])
    locks = 1 if connection.vendor == "postgresql" else 0
    # A look, the rate and the reservation.
    with django_assert_num_queries(2 + locks + 3):
        admitted = admit(limited, "/b")
    # The reservation's end and the usage.
    with django_assert_num_queries(2 + 2):
        admission.settle([admitted.settlement(Outcome.FINISHED, first_token_ms=1, total_ms=2)])


# The journal


def settlement(**fields: Any) -> Settlement:
    return Settlement(
        reservation_id=7,
        key_id=3,
        day=NOON.date(),
        deadline=NOON,
        outcome=Outcome.FINISHED,
        prompt_tokens=5,
        **fields,
    )


def test_an_account_that_waits_in_the_journal_keeps_its_endpoint_and_times(tmp_path: Path) -> None:
    kept = settlement(endpoint="/v1/completions", first_token_ms=12, total_ms=345)
    journal = Journal(tmp_path)
    journal.add(kept)
    journal.close()
    [file] = Journal(tmp_path).adopt()
    assert file.settlements == (kept,)


def test_a_line_of_an_earlier_version_is_read() -> None:
    fields = json.loads(settlement().to_json())
    old = {name: fields[name] for name in fields if name not in {"endpoint", "first_token_ms", "total_ms"}}
    assert Settlement.from_json(json.dumps(old)) == settlement()
    assert settlement().endpoint == UNKNOWN_ENDPOINT


@pytest.mark.parametrize("wrong", [{"total_ms": "soon"}, {"first_token_ms": []}])
def test_a_line_with_a_wrong_time_is_not_a_settlement(wrong: dict[str, Any]) -> None:
    fields = json.loads(settlement().to_json()) | wrong
    with pytest.raises(ValueError, match=r"."):
        Settlement.from_json(json.dumps(fields))


# The way back


def test_an_earlier_version_gets_one_row_for_each_key_and_day(limited: APIKey) -> None:
    other = services.create_key(name="other").key
    for key, endpoint, finished in ((limited, "/a", 1), (limited, "/b", 2), (other, "/a", 4)):
        DailyUsage.objects.create(
            key=key, day=NOON.date(), endpoint=endpoint, finished=finished, prompt_tokens=10 * finished
        )
    importlib.import_module("accounts.migrations.0010_usage_by_endpoint").merge(apps, None)
    rows = DailyUsage.objects.order_by("key_id").values_list("key", "finished", "prompt_tokens")
    assert list(rows) == [(limited.pk, 3, 30), (other.pk, 4, 40)]
