"""Usage in the admin: the figures, the CSV and the permission."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import services
from accounts.models import APIKey, DailyUsage, Reservation
from tests.admin_pages import table_rows, text

OVERVIEW = "/admin/accounts/dailyusage/"
CSV = f"{OVERVIEW}usage.csv"

pytestmark = pytest.mark.django_db


def today() -> date:
    return datetime.now(UTC).date()


def make_key(name: str, *, tokens_per_day: int | None = None, owner: str = "") -> APIKey:
    return services.create_key(name=name, owner=owner, limits={"tokens_per_day": tokens_per_day}).key


def use(key: APIKey, *, days_ago: int = 0, **counts: int) -> None:
    DailyUsage.objects.create(key=key, day=today() - timedelta(days=days_ago), **counts)


def key_page(key: APIKey) -> str:
    return reverse("admin:accounts_dailyusage_key", args=[key.pk])


def rows_of(response: Any) -> list[dict[str, str]]:
    content = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(content, newline="")))


# The pages


def test_the_overview_shows_the_usage_of_all_keys_on_each_day(admin_client: Client) -> None:
    search, reports = make_key("search"), make_key("reports")
    use(search, finished=3, failed=1, prompt_tokens=1000, completion_tokens=234)
    use(reports, finished=2, prompt_tokens=10, completion_tokens=20)
    use(search, days_ago=1, finished=1, refused=4, prompt_tokens=5, completion_tokens=6)
    page = text(admin_client.get(OVERVIEW))
    rows = table_rows(page)
    day, before = str(today()), str(today() - timedelta(days=1))
    assert [day, "1,234", "30", "1,264"] in rows  # tokens by key
    assert [day, "5", "1", "0", "6"] in rows  # requests by outcome: finished, failed, refused
    assert [before, "1", "0", "4", "5"] in rows
    assert ["search", "98%", "1,245", "9"] in rows
    assert ["reports", "2%", "30", "2"] in rows


def test_only_the_days_of_the_period_count(admin_client: Client) -> None:
    key = make_key("search")
    use(key, days_ago=6, finished=1, completion_tokens=7)
    use(key, days_ago=7, finished=1, completion_tokens=70)
    use(key, days_ago=29, finished=1, completion_tokens=700)
    use(key, days_ago=89, finished=1, completion_tokens=7000)
    for days, tokens in (("7", "7"), ("30", "777"), ("90", "7,777"), ("0", "777"), ("x", "777")):
        rows = table_rows(text(admin_client.get(OVERVIEW, {"days": days})))
        assert ["search", "100%", tokens] == next(row for row in rows if row[:1] == ["search"])[:3]


def test_keys_after_the_first_five_are_one_series(admin_client: Client) -> None:
    for index in range(8):
        use(make_key(f"key-{index}"), finished=1, completion_tokens=1000 - index)
    page = text(admin_client.get(OVERVIEW))
    head = next(row for row in table_rows(page) if row[:1] == ["Day"])
    assert head == ["Day", "key-0", "key-1", "key-2", "key-3", "key-4", "Other keys", "Total"]
    assert [str(today()), "1,000", "999", "998", "997", "996", "2,982", "7,972"] in table_rows(page)


def test_a_sixth_key_is_a_series_of_its_own_name(admin_client: Client) -> None:
    for index in range(6):
        use(make_key(f"key-{index}"), finished=1, completion_tokens=1000 - index)
    page = text(admin_client.get(OVERVIEW))
    head = next(row for row in table_rows(page) if row[:1] == ["Day"])
    assert head == ["Day", "key-0", "key-1", "key-2", "key-3", "key-4", "key-5", "Total"]


def test_revoked_keys_do_not_count_as_in_use(admin_client: Client) -> None:
    used, revoked = make_key("used"), make_key("revoked")
    make_key("unused")
    for key in (used, revoked):
        use(key, finished=1, completion_tokens=5)
    assert '<dd>2</dd><dd class="usage-small">of 3 in use</dd>' in text(admin_client.get(OVERVIEW))
    services.revoke(key=revoked, reason="Leaked")
    page = text(admin_client.get(OVERVIEW))
    assert '<dd>1</dd><dd class="usage-small">of 2 in use, and 1 revoked since</dd>' in page


def test_refused_requests_are_shown_by_outcome(admin_client: Client) -> None:
    key = make_key("search")
    use(key, finished=3, refused=4, forbidden=5, invalid=6)
    rows = table_rows(text(admin_client.get(key_page(key))))
    assert ["Day", "Finished", "Refused", "Forbidden", "Invalid", "Total"] in rows
    assert [str(today()), "3", "4", "5", "6", "18"] in rows
    (row,) = rows_of(admin_client.get(CSV))
    assert (row["refused"], row["forbidden"], row["invalid"]) == ("4", "5", "6")


def test_daily_limits_are_shown_with_used_and_reserved_tokens(admin_client: Client) -> None:
    tight, wide, unlimited = (
        make_key("tight", tokens_per_day=100),
        make_key("wide", tokens_per_day=1000),
        None,
    )
    unlimited = make_key("unlimited")
    for key in (tight, wide, unlimited):
        use(key, finished=1, completion_tokens=90)
        use(key, days_ago=1, finished=1, completion_tokens=500)
    later, past = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)
    Reservation.objects.create(key=wide, day=today(), tokens=40, deadline=later)
    Reservation.objects.create(key=wide, day=today(), tokens=600, deadline=past)
    rows = table_rows(text(admin_client.get(OVERVIEW)))
    start = rows.index(["Key", "Tokens today", "Left"])
    assert rows[start + 1 :] == [
        ["tight", "90 of 100 used (90%) — near the limit", "10"],
        ["wide", "90 of 1,000 used (9%), 40 reserved by running requests", "870"],
    ]


def test_the_page_of_a_key_shows_only_its_usage(admin_client: Client) -> None:
    search, reports = make_key("search", tokens_per_day=100), make_key("reports")
    use(search, finished=1, prompt_tokens=60, completion_tokens=40)
    use(reports, finished=5, completion_tokens=999)
    page = text(admin_client.get(key_page(search)))
    rows = table_rows(page)
    assert [str(today()), "60", "40", "100"] in rows
    assert ["100 of 100 used (100%) — at the limit", "0"] in rows
    assert "limit 100" in page
    assert "reports" not in page


def test_without_usage_the_pages_say_so(admin_client: Client) -> None:
    key = make_key("search")
    for page, sentences in (
        (
            OVERVIEW,
            ["No tokens in", "No requests in", "No key was used", "No key in use has a daily token limit"],
        ),
        (key_page(key), ["No tokens in", "No requests in", "This key has no daily token limit"]),
    ):
        shown = text(admin_client.get(page))
        for sentence in sentences:
            assert sentence in shown
        assert "<svg class=" not in shown


def test_charts_are_well_formed_and_described_and_names_are_escaped(
    admin_client: Client,
) -> None:
    use(make_key("<script>alert(1)</script> & co"), finished=1, completion_tokens=5)
    page = text(admin_client.get(OVERVIEW))
    assert "<script>alert(1)" not in page
    charts = re.findall(r'<svg class="usage-plot".*?\n</svg>', page, flags=re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        root = ET.fromstring(chart)  # noqa: S314 — our own page
        assert root.find("title") is not None
        assert "in total, with a maximum of" in str(root.findtext("desc"))
        labelled_by = root.attrib["aria-labelledby"].split()
        assert labelled_by == [child.attrib["id"] for child in root[:2]]


def test_the_overview_needs_the_same_queries_for_any_number_of_keys(admin_client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(OVERVIEW)
        return len(captured)

    use(make_key("first", tokens_per_day=10), finished=1, completion_tokens=5)
    few = queries()
    for index in range(12):
        use(make_key(f"key {index}", tokens_per_day=10), finished=1, completion_tokens=5)
    assert queries() == few


# The CSV


def test_the_csv_has_an_exact_line_for_each_key_and_day(admin_client: Client) -> None:
    search, reports = make_key("search", owner="Ada, Inc."), make_key("reports")
    use(search, finished=3, failed=1, timed_out=2, prompt_tokens=1234567, completion_tokens=2)
    use(search, days_ago=1, cancelled=1)
    use(reports, finished=1, completion_tokens=5)
    response = admin_client.get(CSV)
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="usage-{today()}.csv"'
    rows = rows_of(response)
    assert [(row["day"], row["key"], row["total_tokens"]) for row in rows] == [
        (str(today() - timedelta(days=1)), "search", "0"),
        (str(today()), "search", "1234569"),
        (str(today()), "reports", "5"),
    ]
    assert rows[1]["owner"] == "Ada, Inc."
    assert (rows[1]["finished"], rows[1]["failed"], rows[1]["timed_out"], rows[1]["lost"]) == (
        "3",
        "1",
        "2",
        "0",
    )
    assert rows[1]["key_id"] == str(search.pk)


def test_the_csv_can_be_limited_to_a_key_and_a_period(admin_client: Client) -> None:
    search, reports = make_key("search"), make_key("reports")
    use(search, finished=1)
    use(search, days_ago=10, finished=1)
    use(reports, finished=1)
    response = admin_client.get(CSV, {"key": search.pk, "days": 7})
    assert [(row["day"], row["key"]) for row in rows_of(response)] == [(str(today()), "search")]
    assert admin_client.get(CSV, {"key": 10**30}).status_code == 404


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_csv_is_a_formula_in_a_spreadsheet(admin_client: Client, start: str) -> None:
    formula = f'{start}HYPERLINK("https://evil.example")'
    key = make_key("search", owner="plain")
    APIKey.objects.update(name=formula, owner=formula)
    use(key, finished=1)
    (row,) = rows_of(admin_client.get(CSV))
    assert row["key"] == row["owner"] == f"'{formula}"


def test_the_csv_is_streamed(admin_client: Client) -> None:
    use(make_key("search"), finished=1)
    with CaptureQueriesContext(connection) as captured:
        response: Any = admin_client.get(CSV)
        assert response.streaming
        first = next(iter(response.streaming_content))
        assert first.startswith(b"day,key_id,key,owner,endpoint,finished")
        assert not [query for query in captured.captured_queries if "accounts_dailyusage" in query["sql"]]


# Permissions


def test_usage_needs_its_own_permission(client: Client) -> None:
    key = make_key("search")
    pages = (OVERVIEW, key_page(key), CSV)
    for page in pages:
        assert client.get(page)["Location"].startswith("/admin/login/")
    staff = User.objects.create_user("staff", is_staff=True)
    held = ["view_apikey", "change_apikey", "rotate_apikey", "revoke_apikey", "view_keyevent"]
    staff.user_permissions.set(Permission.objects.filter(codename__in=held))
    client.force_login(staff)
    for page in pages:
        assert client.get(page).status_code == 403
    assert OVERVIEW not in text(client.get("/admin/"))
    staff.user_permissions.set(Permission.objects.filter(codename="view_usage"))
    for page in pages:
        assert client.get(page).status_code == 200
    assert OVERVIEW in text(client.get("/admin/"))
    assert "Go to the key" not in text(client.get(key_page(key)))
