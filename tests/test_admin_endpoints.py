"""Usage by endpoint and times, as the admin's pages, the CSV and the report show them."""

import csv
import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from accounts import services
from accounts.limits import ledger
from accounts.models import APIKey, Outcome
from accounts.templatetags.keys import milliseconds
from tests.admin_pages import table_rows, text
from tests.test_admin_usage import CSV, OVERVIEW, key_page, rows_of

pytestmark = pytest.mark.django_db

GENERATE, CHAT = "/generate", "/v1/chat/completions"
TIMED = ["1.00 s", "960 ms", "1.25 s", "2.00 s", "1.92 s", "2.50 s"]


def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture
def key() -> APIKey:
    """A key with four requests to `CHAT` today, all of the same length, a refused one, and one yesterday."""
    key = services.create_key(name="search").key
    for _ in range(4):
        used = {"prompt_tokens": 10, "completion_tokens": 5, "first_token_ms": 1000, "total_ms": 2000}
        ledger.account(key.pk, today(), CHAT, Outcome.FINISHED, **used)
    ledger.account(key.pk, today(), CHAT, Outcome.INVALID)
    ledger.account(key.pk, today() - timedelta(days=1), GENERATE, Outcome.FINISHED, total_ms=15)
    return key


def test_the_pages_show_requests_tokens_and_times_of_each_endpoint(admin_client: Client, key: APIKey) -> None:
    other = services.create_key(name="other").key
    ledger.account(other.pk, today(), GENERATE, Outcome.FAILED, completion_tokens=1)
    rows = table_rows(text(admin_client.get(key_page(key))))
    assert [CHAT, "5", "60", *TIMED] in rows
    assert [GENERATE, "1", "0", "", "", "", "15 ms", "15 ms", "20 ms"] in rows
    rows = table_rows(text(admin_client.get(OVERVIEW)))
    assert [CHAT, "5", "60", *TIMED] in rows
    assert [GENERATE, "2", "1", "", "", "", "15 ms", "15 ms", "20 ms"] in rows


def test_the_page_of_a_key_shows_the_times_of_each_day(admin_client: Client, key: APIKey) -> None:
    rows = table_rows(text(admin_client.get(key_page(key))))
    assert [str(today()), "4", *TIMED] in rows
    assert [str(today() - timedelta(days=1)), "1", "", "", "", "15 ms", "15 ms", "20 ms"] in rows


def test_without_usage_the_page_says_so(admin_client: Client) -> None:
    page = text(admin_client.get(key_page(services.create_key(name="unused").key)))
    assert "No endpoint was used in the last 30 days." in page


def test_the_csv_has_a_line_for_each_endpoint_with_its_times(admin_client: Client, key: APIKey) -> None:
    ledger.account(key.pk, today(), GENERATE, Outcome.REFUSED)
    rows = rows_of(admin_client.get(CSV))
    assert [(row["endpoint"], row["finished"], row["total_tokens"]) for row in rows] == [
        (GENERATE, "1", "0"),
        (GENERATE, "0", "0"),
        (CHAT, "4", "60"),
    ]
    assert [row["first_token_mean_ms"] for row in rows] == ["", "", "1000"]
    assert [row["total_p95_ms"] for row in rows] == ["20", "", "2496"]


def test_the_report_has_the_same_rows(key: APIKey) -> None:
    stdout = StringIO()
    call_command("usage_report", "--since", str(today()), stdout=stdout)
    (as_csv,) = csv.DictReader(StringIO(stdout.getvalue()))
    stdout = StringIO()
    call_command("usage_report", "--since", str(today()), "--format", "json", stdout=stdout)
    (as_json,) = json.loads(stdout.getvalue())
    assert (as_csv["endpoint"], as_csv["total_mean_ms"]) == (CHAT, "2000")
    assert (as_json["endpoint"], as_json["total_mean_ms"], as_json["invalid"]) == (CHAT, 2000, 1)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (0, "0 ms"),
        (85.4, "85 ms"),
        (999, "999 ms"),
        (999.6, "1.00 s"),
        (12_345, "12.3 s"),
        (163_840, "164 s"),
    ],
)
def test_a_time_has_three_digits(ms: float, shown: str) -> None:
    assert milliseconds(ms).replace("\N{NO-BREAK SPACE}", " ") == shown
