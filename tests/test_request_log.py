import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import services
from accounts.models import APIKey
from inference import runtime
from inference.engine.engine import Engine
from llmservice.logs import JSONFormatter
from tests.models import tiny_engine

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[Engine]:
    ready = tiny_engine()
    runtime.install(ready)
    yield ready
    runtime.stop()


class Lines(logging.Handler):
    """Collects the log as a program reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self.read: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.read.append(json.loads(self.format(record)))


@pytest.fixture
def log(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """The log of requests and errors so far."""
    settings.LOG_FORMAT = "json"
    lines = Lines()
    logger = logging.getLogger("llmservice")
    logger.addHandler(lines)
    yield lines.read
    logger.removeHandler(lines)


def generate(client: Client, key: str, **fields: object) -> Any:
    body = {"prompt": "a private matter", "max_new_tokens": 3, **fields}
    return client.post("/generate", body, content_type="application/json", headers={"X-API-Key": key})


def test_the_line_of_a_generation_contains_everything_but_secret_and_prompt(
    client: Client, log: list[dict[str, Any]]
) -> None:
    created = services.create_key(name="search")

    generate(client, created.plaintext)

    (line,) = log
    assert (line["method"], line["route"], line["status"], line["level"]) == (
        "POST",
        "/generate",
        200,
        "INFO",
    )
    assert (line["key_id"], line["outcome"], line["completion_tokens"]) == (created.key.pk, "finished", 3)
    assert line["prompt_tokens"] == len("a private matter")
    assert line["elapsed_s"] >= line["first_token_s"] >= line["queued_s"] >= 0
    assert line["generated_s"] > 0
    assert created.plaintext not in json.dumps(line)
    assert "private" not in json.dumps(line)


def test_a_setting_adds_the_prompt(client: Client, log: list[dict[str, Any]], settings: Settings) -> None:
    settings.LOG_PROMPTS = True

    generate(client, services.create_key(name="search").plaintext)

    assert log[0]["prompt"] == "a private matter"


def test_a_refusal_has_its_reason(client: Client, log: list[dict[str, Any]]) -> None:
    generate(client, "not-a-key")
    generate(client, services.create_key(name="search").plaintext, temperature=9)

    assert [(line["status"], line["reason"]) for line in log] == [
        (403, "key_invalid"),
        (422, "invalid_fields"),
    ]
    assert "not-a-key" not in json.dumps(log)


def expire_key(issued: services.IssuedSecret) -> None:
    APIKey.objects.filter(pk=issued.key.pk).update(expires_at=timezone.now())


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (lambda issued: services.disable(key=issued.key), "key_disabled"),
        (lambda issued: services.revoke(key=issued.key), "key_revoked"),
        (expire_key, "key_expired"),
        (lambda issued: services.rotate(key=issued.key, grace=timedelta()), "secret_expired"),
        (lambda issued: services.revoke_secret(secret=issued.secret), "secret_revoked"),
        (
            lambda issued: APIKey.objects.filter(pk=issued.key.pk).update(allowed_networks=["10.0.0.0/8"]),
            "address_not_allowed",
        ),
        (lambda issued: APIKey.objects.filter(pk=issued.key.pk).update(scopes=["usage"]), "scope_missing"),
    ],
)
def test_a_refused_key_is_logged_with_its_number_and_the_reason(
    client: Client,
    log: list[dict[str, Any]],
    refuse: Callable[[services.IssuedSecret], object],
    reason: str,
) -> None:
    issued = services.create_key(name="search")
    refuse(issued)

    document = generate(client, issued.plaintext).json()

    assert (log[-1]["status"], log[-1]["key_id"]) == (403, issued.key.pk)
    assert log[-1]["reason"] == document["code"] == reason


def test_a_request_that_is_refused_before_any_view_has_its_reason(
    client: Client, log: list[dict[str, Any]]
) -> None:
    client.get("/health", headers={"Host": "elsewhere.example"})
    client.post("/generate", "{}", content_type="application/json", CONTENT_LENGTH="9" * 12)

    assert [line["reason"] for line in log] == ["unknown_host", "body_too_large"]


def test_static_files_and_the_icon_are_logged_for_debugging_only(
    client: Client, log: list[dict[str, Any]]
) -> None:
    logger = logging.getLogger("llmservice.request_log")
    paths = ("/static/llmservice/docs.css", "/favicon.ico")
    for path in paths:
        assert list(client.get(path))  # the line is written when the answer has been read
    assert log == []

    logger.setLevel(logging.DEBUG)
    try:
        for path in paths:
            assert list(client.get(path))
    finally:
        logger.setLevel(logging.NOTSET)
    assert [line["level"] for line in log] == ["DEBUG", "DEBUG"]

    client.get("/static/nothing.css")
    assert log[-1]["level"] == "INFO"


def test_a_failure_is_logged_on_one_line_whatever_the_address_contains(
    client: Client, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr("llmservice.docs.resolve", fail)
    client.get("/nothing%0aforged%1b[31m" + "x" * 1000)

    assert "\n" not in log[0]["message"]
    assert "\x1b" not in log[0]["message"]
    assert len(log[0]["message"]) < 400


def test_an_unknown_address_is_logged_without_its_query(client: Client, log: list[dict[str, Any]]) -> None:
    client.get("/nothing/here?key=hush")

    (line,) = log
    assert (line["route"], line["status"]) == (None, 404)
    assert "hush" not in json.dumps(line)


@pytest.mark.parametrize("given", ["abc.1", "A-Z_~9", "x" * 128])
def test_a_valid_id_of_the_client_is_kept(client: Client, log: list[dict[str, Any]], given: str) -> None:
    answer = client.get("/health", headers={"X-Request-ID": given})

    assert answer.headers["X-Request-ID"] == log[0]["request_id"] == given


@pytest.mark.parametrize("given", ["", "two words", 'quote"', "ünsound", "x" * 129])
def test_an_invalid_id_is_replaced(client: Client, given: str) -> None:
    first = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    second = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]

    assert given != first != second
    assert len(first) == 32


def test_every_line_has_the_trace_of_the_client(
    client: Client, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(runtime, "status", fail)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    client.get("/health", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    client.get("/health", headers={"traceparent": "something else"})

    assert [line.get("trace_id") for line in log] == [trace, trace, None, None]


def test_an_unexpected_error_is_logged_with_its_trace_and_the_request(
    client: Client, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(runtime, "status", fail)

    answer = client.get("/health", headers={"X-Request-ID": "abc"})

    assert answer.status_code == 500
    error, line = log
    assert (error["level"], error["request_id"]) == ("ERROR", "abc")
    assert "unexpected" in error["trace"]
    assert (line["status"], line["reason"]) == (500, "internal_error")


@pytest.fixture
def stderr() -> Iterator[io.StringIO]:
    """What the service's own handler writes for the operator."""
    (handler,) = [one for one in logging.getLogger().handlers if one.name == "stderr"]
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


def test_a_refused_post_to_the_admin_has_no_trace(stderr: io.StringIO) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("staff", is_staff=True))
    token = {"csrfmiddlewaretoken": re.findall('name="csrf[^>]+ value="(.+?)"', page(client, "/admin/"))[0]}
    add = "/admin/accounts/apikey/add/"

    def post(body: object, media_type: str = "application/x-www-form-urlencoded") -> list[str]:
        """Post the body; returns the log lines of the request."""
        stderr.seek(stderr.truncate(0))
        assert client.post(add, body, content_type=media_type).status_code in {400, 403}
        lines = stderr.getvalue().splitlines()
        assert not [line for line in lines if "Traceback" in line or line.startswith(" ")], lines
        assert "hush" not in str(lines)
        return lines

    (line,) = post(urlencode({**token, "name": "hush"}))
    assert line.endswith("reason='forbidden'")
    wrong_token, _ = post(urlencode({"csrfmiddlewaretoken": "hush" * 16}))
    assert "WARNING" in wrong_token
    too_many, line = post("&".join(["hush=1"] * 1001))
    assert "DATA_UPLOAD_MAX_NUMBER_FIELDS" in too_many
    assert line.endswith("reason='malformed_request'")
    (line,) = post("hush", "multipart/form-data")
    assert line.endswith("reason='malformed_request'")


def page(client: Client, address: str) -> str:
    return client.get(address).content.decode()
