"""Every error is a problem document, whoever raises it and whatever DEBUG is."""

import json
import logging
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.test import Client, RequestFactory
from django.urls import include, path
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    GenerationFailed,
    Overloaded,
    Unavailable,
)
from llmservice.http.database_errors import AWAY
from llmservice.http.problems import problem_for
from llmservice.intake import IntakeMiddleware
from tests.problems import problem

SECRET = "the words of an exception that nobody foresaw"


def invalid_item() -> exceptions.ValidationError:
    """What a list field of Django REST framework raises for its second item."""
    details: dict[str, Any] = {"stop": {1: ["Must not be empty."]}}
    return exceptions.ValidationError(details)


CASES: dict[str, tuple[Exception, int]] = {
    "parse": (exceptions.ParseError("Not JSON."), 400),
    "suspicious": (SuspiciousOperation(SECRET), 400),
    "cut-short": (UnreadablePostError(SECRET), 400),
    "denied": (exceptions.PermissionDenied(), 403),
    "django-denied": (PermissionDenied(SECRET), 403),
    "django-404": (Http404(SECRET), 404),
    "too-big": (RequestDataTooBig(SECRET), 413),
    "invalid": (invalid_item(), 422),
    "no-token": (EmptyPrompt(), 422),
    "throttled": (exceptions.Throttled(wait=2.5), 429),
    "unforeseen": (RuntimeError(SECRET), 500),
    "api": (exceptions.APIException(), 500),
    "generation": (GenerationFailed("The model failed on this request."), 500),
    "database": (OperationalError(SECRET), 503),
    "overloaded": (Overloaded(retry_after_s=17), 503),
    "unavailable": (Unavailable("The model is loading."), 503),
    "deadline": (DeadlineExceeded(), 504),
}


class FailingView(APIView):
    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request, case: str) -> HttpResponse:
        raise CASES[case][0]


def failing_page(request: HttpRequest, case: str) -> HttpResponse:
    raise CASES[case][0]


urlpatterns = [
    path("fail/<case>", FailingView.as_view()),
    path("fail-page/<case>", failing_page),
    path("", include("llmservice.urls")),
]
handler400 = "llmservice.http.problems.bad_request"
handler403 = "llmservice.http.problems.permission_denied"
handler404 = "llmservice.http.problems.page_not_found"
handler500 = "llmservice.http.problems.server_error"


def told(response: Any, status: int) -> dict[str, Any]:
    """The problem document, which says nothing of the exception's own words."""
    assert SECRET not in response.content.decode()
    return problem(response, status)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_an_exception_becomes_its_told(client: Client, settings: Any, case: str, debug: bool) -> None:
    settings.DEBUG = debug
    told(client.get(f"/fail/{case}"), CASES[case][1])


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("case", "seconds"), [("overloaded", 17), ("unavailable", 5), ("database", 5), ("throttled", 3)]
)
def test_what_passes_by_itself_says_when(client: Client, case: str, seconds: int) -> None:
    assert client.get(f"/fail/{case}")["Retry-After"] == str(seconds)


@pytest.mark.urls(__name__)
def test_an_invalid_item_of_a_list_is_named_by_its_place(client: Client) -> None:
    document = told(client.get("/fail/invalid"), 422)
    assert document["errors"] == [{"field": "stop[1]", "detail": "Must not be empty."}]
    assert document["detail"] == "stop[1]: Must not be empty."


def logged(client: Client, address: str, caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one record of a request that fails."""
    with caplog.at_level(logging.ERROR, "llmservice.http.problems"):
        client.get(address)
    (record,) = [record for record in caplog.records if record.name == "llmservice.http.problems"]
    return record


@pytest.mark.urls(__name__)
def test_what_nobody_foresaw_is_in_the_log_with_its_trace(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    record = logged(client, "/fail/unforeseen", caplog)
    assert record.getMessage() == "GET /fail/unforeseen failed"
    assert record.exc_info
    assert str(record.exc_info[1]) == SECRET


@pytest.mark.urls(__name__)
def test_a_database_that_is_away_takes_one_line_of_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    record = logged(client, "/fail/database", caplog)
    assert record.getMessage() == f"GET /fail/database failed: {AWAY} ({SECRET})"
    assert record.exc_info is None


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("case", "status"),
    [("suspicious", 400), ("django-denied", 403), ("django-404", 404), ("unforeseen", 500)],
)
def test_a_view_of_django_fails_with_a_problem_too(case: str, status: int) -> None:
    told(Client(raise_request_exception=False).get(f"/fail-page/{case}"), status)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_address_is_a_told(client: Client, settings: Any, method: str, debug: bool) -> None:
    settings.DEBUG = debug
    for address in ("/nothing", "/nothing/", "/%ff%00", "/static/nothing.js"):
        told(getattr(client, method)(address), 404)


def test_an_address_with_a_slash_too_many_tells_the_right_one(client: Client) -> None:
    for address in ("/health/", "/docs/", "/generate/"):
        assert f"did you mean {address[:-1]}," in told(client.get(address), 404)["detail"]


@pytest.mark.parametrize("debug", [False, True])
def test_an_unknown_host_is_a_told(client: Client, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    told(client.get("/health", headers={"Host": "elsewhere.example"}), 400)


def test_the_admin_keeps_its_pages(client: Client, db: None) -> None:
    assert client.get("/admin").headers["Location"] == "/admin/"
    response = client.get("/admin/login/")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/html")


def test_a_database_that_is_away_is_503(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(plaintext: str) -> None:
        raise OperationalError(SECRET)

    monkeypatch.setattr("accounts.authentication.find_secret", away)
    response = client.post(
        "/generate", {"prompt": "a"}, content_type="application/json", headers={"X-API-Key": "mysecurekey123"}
    )
    assert "database" in told(response, 503)["detail"]
    assert "Retry-After" in response


# --- Bodies before any view


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def test_head_gets_the_headers_of_get_and_no_body(client: Client) -> None:
    head, get = client.head("/nothing"), client.get("/nothing")
    assert head.content == b""
    assert head["Content-Length"] == str(len(get.content))


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("GZIP, br", 415), ("identity", 200)])
def test_a_compressed_body_is_refused_by_its_name(coding: str, status: int) -> None:
    """It would be read as JSON otherwise, and called invalid JSON."""
    response = IntakeMiddleware(echo)(
        RequestFactory().post("/generate", b"{}", "application/json", headers={"Content-Encoding": coding})
    )
    assert response.status_code == status
    if status != 200:
        assert coding.lower() in told(response, 415)["detail"]
        assert response["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(("length", "status"), [("11", 413), ("9" * 5000, 413), ("x", 400), ("-1", 400)])
def test_a_length_beyond_the_limit_is_refused_before_reading(settings: Any, length: str, status: int) -> None:
    settings.MAX_BODY_BYTES = 10
    told(IntakeMiddleware(echo)(RequestFactory().post("/generate", CONTENT_LENGTH=length)), status)


def test_a_request_whose_client_is_gone_is_no_failure_of_the_service() -> None:
    """No standard has this status; whoever closed only its own side of the connection can read why."""
    response = problem_for(Cancelled()).response()
    assert (response.status_code, response.reason_phrase) == (499, "Client Closed Request")
    assert json.loads(response.content)["title"] == "Client Closed Request"
    assert json.loads(response.content)["code"] == "client_closed_request"
