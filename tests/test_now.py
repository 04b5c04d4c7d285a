"""The page "Now" of the admin: this worker's figures, and who may see them."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from accounts import services
from accounts.models import APIKey, Reservation
from inference import runtime
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.request import GenerationRequest, SamplingParams
from llmservice.now import failures
from tests.admin_pages import table_rows, text
from tests.models import tiny_engine

PAGE = "/admin/now/"
FIGURES = "/admin/now/figures"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_failures() -> None:
    failures._last.clear()


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that computes only when the test steps it, and runs one request at a time."""
    monkeypatch.setattr(Engine, "alive", True)
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096, max_running=1), start=False)
    runtime.install(engine)
    yield engine
    monkeypatch.undo()
    runtime.stop()


def submit(engine: Engine, key: APIKey) -> None:
    request = GenerationRequest(
        prompt="abcd", max_new_tokens=4, sampling=SamplingParams(do_sample=False), owner=str(key.pk)
    )
    engine.submit(engine.prepare(request))


def figure(page: str, name: str) -> str:
    """The large number under this name."""
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", page)
    assert found, page
    return html.unescape(found[1])


@pytest.mark.parametrize("address", [PAGE, FIGURES])
def test_running_and_queued_requests_are_shown_by_key(
    admin_client: Client, standing: Engine, address: str
) -> None:
    first, second = (services.create_key(name=name).key for name in ("search", "reports"))
    for key in (first, first, second):
        submit(standing, key)
    standing.step()

    page = text(admin_client.get(address))

    assert figure(page, "State") == "Ready"
    assert (figure(page, "Running"), figure(page, "Queued")) == ("1", "2")
    assert figure(page, "KV cache") == "<1%"
    assert "16 of 4.1k tokens" in page
    assert ["search", "1", "1", "0"] in table_rows(page)
    assert ["reports", "0", "1", "0"] in table_rows(page)
    assert "tiny-gpt2" in page
    assert escape(standing.compute_path) in page


def test_requests_of_other_workers_are_shown_unless_they_are_overdue(
    admin_client: Client, standing: Engine
) -> None:
    key, idle = (services.create_key(name=name).key for name in ("search", "idle"))
    now = timezone.now()
    for one, ends in ((key, 60), (key, 60), (idle, -60)):
        deadline = now + timedelta(seconds=ends)
        Reservation.objects.create(key=one, day=now.date(), tokens=9, deadline=deadline)

    page = text(admin_client.get(FIGURES))

    assert ["search", "0", "0", "2"] in table_rows(page)
    assert "idle" not in page


def test_a_worker_that_cannot_generate_says_why(admin_client: Client, standing: Engine) -> None:
    runtime.drain()

    page = text(admin_client.get(PAGE))

    assert figure(page, "State") == "Draining"
    assert "The service is shutting down" in page
    assert "Running</dt>" not in page


def test_failed_requests_are_shown_with_their_key_and_id(
    client: Client, admin_client: Client, standing: Engine
) -> None:
    secret = services.create_key(name="search").plaintext
    runtime.drain()
    headers = {"X-API-Key": secret, "X-Request-ID": "one-that-fails"}
    client.post("/generate", {"prompt": "a"}, content_type="application/json", headers=headers)
    client.post("/generate", {"prompt": 1}, content_type="application/json", headers=headers)
    client.get("/ready")

    head, *found = table_rows(text(admin_client.get(FIGURES)))
    assert head[0] == "Time"
    assert [row[1:] for row in found] == [
        ["503", "unavailable", "POST /generate", "search", "one-that-fails"]
    ]


def test_a_name_is_escaped(admin_client: Client, standing: Engine) -> None:
    submit(standing, services.create_key(name="<script>alert(1)</script>").key)

    assert "<script>alert" not in text(admin_client.get(FIGURES))


def test_the_note_on_other_workers_is_there_only_if_there_are_some(
    admin_client: Client, settings: Any
) -> None:
    settings.WEB_CONCURRENCY = 1
    assert "Each refresh shows" not in text(admin_client.get(PAGE))
    settings.WEB_CONCURRENCY = 2
    assert "The service has 2 worker processes. Each refresh shows" in text(admin_client.get(PAGE))


@pytest.mark.parametrize("address", [PAGE, FIGURES])
def test_the_page_needs_the_permission_to_view_usage(client: Client, address: str) -> None:
    assert client.get(address)["Location"].startswith("/admin/login/")
    user = User.objects.create_user("staff", is_staff=True)
    client.force_login(user)
    assert client.get(address).status_code == 403
    assert PAGE not in text(client.get("/admin/"))
    user.user_permissions.add(Permission.objects.get(codename="view_usage"))
    assert client.get(address).status_code == 200
    assert PAGE in text(client.get("/admin/"))
