"""What a key may be used for: every address that needs a key names one scope, and refuses keys without it."""

import importlib
import json
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import services
from accounts.models import APIKey, EventKind, KeyEvent, Scope
from accounts.templatetags.keys import event_details
from tests.admin_pages import LIST, change, text
from tests.openai_api import refused
from tests.problems import problem
from tests.test_request_log import log as log

pytestmark = pytest.mark.django_db

NEEDED = [
    ("POST", "/generate", Scope.GENERATE),
    ("POST", "/v1/completions", Scope.GENERATE),
    ("POST", "/v1/chat/completions", Scope.GENERATE),
    ("POST", "/v1/responses", Scope.GENERATE),
    ("POST", "/tokenize", Scope.MODELS),
    ("POST", "/detokenize", Scope.MODELS),
    ("GET", "/v1/models", Scope.MODELS),
    ("GET", "/v1/models/a-model", Scope.MODELS),
    ("GET", "/keys/me", Scope.USAGE),
    ("POST", "/keys/me/rotate", Scope.ROTATE),
]


@pytest.mark.parametrize(("method", "path", "scope"), NEEDED)
def test_a_key_without_the_scope_is_refused_with_its_name_and_logged(
    client: Client, log: list[dict[str, Any]], method: str, path: str, scope: Scope
) -> None:
    others = [other for other in Scope if other is not scope]
    issued = services.create_key(name="search", scopes=others)

    response = client.generic(method, path, headers={"X-API-Key": issued.plaintext})

    if path.startswith("/v1/") or path.endswith("tokenize"):
        error = refused(response, 403)
        assert (error["type"], error["code"]) == ("permission_error", "scope_missing")
        message = error["message"]
    else:
        document = problem(response, 403)
        assert document["code"] == "scope_missing"
        message = document["detail"]
    assert f"“{scope}”" in message
    assert (log[-1]["key_id"], log[-1]["reason"]) == (issued.key.pk, "scope_missing")


@pytest.mark.parametrize(("method", "path", "scope"), NEEDED)
def test_the_scope_alone_is_enough(client: Client, method: str, path: str, scope: Scope) -> None:
    secret = services.create_key(name="search", scopes=[scope]).plaintext
    response = client.generic(method, path, headers={"X-API-Key": secret})
    assert response.status_code not in {401, 403}


def test_keys_that_exist_may_go_on_doing_what_needed_no_scope() -> None:
    migration = importlib.import_module("accounts.migrations.0008_scopes")
    for name, scopes in (("all", ["generate", "usage"]), ("one", ["usage"])):
        services.create_key(name=name, scopes=scopes)

    migration.add(apps, None)

    after = dict(APIKey.objects.values_list("name", "scopes"))
    assert after == {"all": [*Scope.values], "one": ["models", "usage", "rotate"]}
    migration.remove(apps, None)
    assert APIKey.objects.get(name="all").scopes == ["generate", "usage"]


# Commands


def run(*args: str) -> str:
    stdout = StringIO()
    call_command(*args, stdout=stdout, stderr=StringIO())
    return stdout.getvalue()


def test_the_scopes_of_a_key_are_replaced_and_the_event_has_the_old_and_the_new() -> None:
    key = services.create_key(name="search").key

    run("change_scopes", "search", "--scope", "usage", "--scope", "generate")

    key.refresh_from_db()
    assert key.scopes == ["generate", "usage"]
    event = KeyEvent.objects.get(kind=EventKind.CHANGED)
    assert event_details(event) == "scopes: generate, models, usage, rotate → generate, usage"


@pytest.mark.parametrize("options", [[], ["--scope", "everything"]])
def test_a_change_without_a_scope_that_exists_is_refused(options: list[str]) -> None:
    services.create_key(name="search")
    with pytest.raises(CommandError, match="--scope"):
        run("change_scopes", "search", *options)


def test_keys_are_listed_by_scope() -> None:
    services.create_key(name="both")
    services.create_key(name="narrow", scopes=["generate"])
    listed = json.loads(run("list_keys", "--scope", "generate", "--scope", "usage", "--format", "json"))
    assert [row["name"] for row in listed] == ["both"]
    assert "generate models usage rotate" in run("list_keys")


# The admin


def test_the_admin_shows_scopes_and_filters_by_them(admin_client: Client) -> None:
    services.create_key(name="key-all")
    services.create_key(name="key-narrow", scopes=["generate"])
    page = text(admin_client.get(LIST))
    assert '<span class="key-quiet">all</span>' in page
    assert '<span class="key-line">generate</span>' in page
    page = text(admin_client.get(LIST, {"scope": "models"}))
    assert "key-all</a>" in page
    assert "key-narrow</a>" not in page


def test_the_form_has_a_labelled_box_for_each_scope(admin_client: Client) -> None:
    key = services.create_key(name="search", scopes=["generate"]).key
    for address in (f"{LIST}add/", f"{LIST}{key.pk}/change/"):
        page = text(admin_client.get(address))
        for scope in Scope:
            assert scope.label in page
    change(admin_client, key, scopes=["generate", "rotate"])
    key.refresh_from_db()
    assert key.scopes == ["generate", "rotate"]
