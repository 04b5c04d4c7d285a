from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import path
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from pytest_django import DjangoAssertNumQueries
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services
from accounts.models import APIKey, APIKeySecret

MISSING = "Missing API key: send it in the X-API-Key header."
INVALID = "Invalid API key."
UNKNOWN = "llms_0123456789ABCDEFGHIJKLMNOPQRSTUV2xSofZ"


class WhoAmI(APIView):
    @extend_schema(responses=None)
    def get(self, request: Request) -> Response:
        return Response({"key": str(request.user), "secret": str(request.auth)})


urlpatterns = [path("me", WhoAmI.as_view())]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def call(client: Client, secret: str | None) -> tuple[int, dict[str, Any]]:
    response = client.get("/me", headers=None if secret is None else {"X-API-Key": secret})
    return response.status_code, response.json()


def detail(client: Client, secret: str | None) -> str:
    status, body = call(client, secret)
    assert status == 403
    return str(body["detail"])


def test_a_valid_secret_identifies_the_key(client: Client) -> None:
    issued = services.create_key(name="search")
    assert call(client, issued.plaintext) == (200, {"key": "search", "secret": f"{issued.secret.prefix}…"})


def test_the_first_key_is_accepted(client: Client) -> None:
    services.create_first_key(secret="mysecurekey123")
    assert call(client, "mysecurekey123")[0] == 200


def test_without_the_header_the_answer_names_it(client: Client) -> None:
    assert detail(client, None) == MISSING


def test_a_key_that_is_sent_as_a_bearer_token_is_told_the_right_header(client: Client) -> None:
    secret = services.create_key(name="search").plaintext
    for scheme in ("Bearer", "bearer"):
        document = client.get("/me", headers={"Authorization": f"{scheme} {secret}"}).json()
        assert document["code"] == "key_missing"
        assert "send it in the X-API-Key header, not as Authorization: Bearer" in document["detail"]
        assert secret not in document["detail"]
    assert client.get("/me", headers={"Authorization": "Basic eDp5"}).json()["detail"] == MISSING


@pytest.mark.parametrize(
    "secret",
    [
        "",
        " ",
        "junk",
        "mysecurekey123",
        UNKNOWN,
        UNKNOWN[:-1] + "-",
        "llms_" + "0" * 38,
        "llms_" + "x" * 100_000,
        "x" * 100_000,
        "k\xe9y",
        "nul\x00",
        "' OR 1=1 --",
    ],
)
def test_every_unknown_secret_gets_the_same_message(client: Client, secret: str) -> None:
    services.create_key(name="search")
    assert detail(client, secret) == INVALID


def test_a_prefix_or_a_case_change_of_a_secret_is_not_the_secret(client: Client) -> None:
    services.create_first_key(secret="mysecurekey123")
    for wrong in ("mysecurekey12", "MYSECUREKEY123", "mysecurekey123 ", "mysecurekey1234"):
        assert detail(client, wrong) == INVALID


def test_junk_is_refused_without_a_query(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        for junk in ("llms_" + "0" * 38, "x" * 257, "k\xe9y", ""):
            assert detail(client, junk) == INVALID


def test_a_request_costs_one_query(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    plaintext = services.create_key(name="search").plaintext
    with django_assert_num_queries(5):  # The first use is recorded, with its event.
        assert call(client, plaintext)[0] == 200
    with django_assert_num_queries(1):
        assert call(client, plaintext)[0] == 200


def expire(key: APIKey) -> None:
    APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda key: services.revoke(key=key), "revoked"),
        (lambda key: services.disable(key=key), "disabled"),
        (expire, "expired"),
    ],
)
def test_a_change_of_state_is_reported_from_the_next_request_on(
    client: Client, change: Callable[[APIKey], None], word: str
) -> None:
    issued = services.create_key(name="search")
    assert call(client, issued.plaintext)[0] == 200
    change(issued.key)
    assert word in detail(client, issued.plaintext)
    # Without the right secret, the state of a key is not revealed.
    assert detail(client, issued.plaintext[:-1]) == INVALID


def test_both_secrets_work_in_the_grace_period_and_one_after_it(client: Client) -> None:
    first = services.create_key(name="search")
    second = services.rotate(key=first.key, grace=timedelta(hours=1))
    assert call(client, first.plaintext)[0] == call(client, second.plaintext)[0] == 200
    APIKeySecret.objects.filter(pk=first.secret.pk).update(expires_at=timezone.now())
    assert "expired" in detail(client, first.plaintext)
    assert call(client, second.plaintext)[0] == 200


def test_only_an_accepted_secret_counts_as_used(client: Client) -> None:
    first = services.create_key(name="search")
    second = services.rotate(key=first.key, grace=timedelta(0))
    call(client, first.plaintext)
    call(client, second.plaintext)
    assert APIKeySecret.objects.get(pk=first.secret.pk).last_used_at is None
    assert APIKeySecret.objects.get(pk=second.secret.pk).last_used_at is not None


def test_another_pepper_makes_all_secrets_unknown(client: Client, settings: Any) -> None:
    plaintext = services.create_key(name="search").plaintext
    settings.API_KEY_PEPPER = "another"
    assert detail(client, plaintext) == INVALID


def test_the_openapi_document_names_the_header() -> None:
    schema = SchemaGenerator(patterns=urlpatterns).get_schema(public=True)  # type: ignore[no-untyped-call]
    scheme = schema["components"]["securitySchemes"]["ApiKeyAuth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    assert schema["paths"]["/me"]["get"]["security"] == [{"ApiKeyAuth": []}]
