"""Whether a key's prompts are kept after their request: in the log, and in the prefix cache."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts import services
from accounts.models import APIKey, KeyEvent, Prompts
from inference.engine.engine import Engine
from tests.scripted_engine import scripted_engine, stream
from tests.upstream_requests import COMPLETIONS, TWO, WAIT_S, connecting, request, submit

pytestmark = pytest.mark.django_db

PROMPT = "a private matter, and long enough for several blocks of the cache"


def post(client: Client, key: str, path: str, body: dict[str, Any]) -> Any:
    answer = client.post(path, body, content_type="application/json", headers={"X-API-Key": key})
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.mark.parametrize(
    ("prompts", "setting", "logged"),
    [
        (Prompts.DEFAULT, False, False),
        (Prompts.DEFAULT, True, True),
        (Prompts.KEPT, False, True),
        (Prompts.NEVER, True, False),
    ],
)
def test_the_key_decides_whether_its_prompts_are_logged(
    client: Client,
    engine: Engine,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    prompts: Prompts,
    setting: bool,
    logged: bool,
) -> None:
    settings.LOG_PROMPTS = setting

    key = services.create_key(name="search", prompts=prompts).plaintext
    post(client, key, "/generate", {"prompt": PROMPT, "max_new_tokens": 1})

    assert ("private" in caplog.text) == logged


@pytest.mark.parametrize("prompts", [Prompts.DEFAULT, Prompts.NEVER])
def test_prompts_that_are_never_kept_are_computed_again(
    client: Client, engine: Engine, prompts: Prompts
) -> None:
    key = services.create_key(name="search", prompts=prompts).plaintext

    def found() -> int:
        body = {"model": engine.model_name, "prompt": f"{prompts}: {PROMPT}", "max_tokens": 1}
        usage = post(client, key, "/v1/completions", body)["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert found() == 0
    assert (found() > 0) == (prompts is Prompts.DEFAULT)


def test_an_engine_behind_the_service_gets_a_salt_that_no_other_request_has() -> None:
    with scripted_engine() as engine, connecting(engine) as connect:
        engine.answers[COMPLETIONS] = stream(*TWO)
        backend = connect()
        for _ in range(2):
            submit(backend, request(kept=False)).result(WAIT_S)

        one, other = (body["cache_salt"] for body in engine.bodies(COMPLETIONS))
        assert one != other


def test_the_commands_set_it_and_record_it() -> None:
    call_command("create_key", "search", "--prompts", "kept", stdout=io.StringIO(), stderr=io.StringIO())
    assert APIKey.objects.get().prompts == "kept"

    said = io.StringIO()
    call_command("change_prompts", "search", "never", stderr=said)

    assert APIKey.objects.get().prompts == "never"
    assert "never kept" in said.getvalue()
    changed = KeyEvent.objects.get(kind="changed").details
    assert (changed["before"], changed["fields"]) == ({"prompts": "kept"}, {"prompts": "never"})
    with pytest.raises(CommandError):
        call_command("change_prompts", "search", "sometimes")


def test_the_admin_shows_it_and_changes_it(admin_client: Client) -> None:
    key = services.create_key(name="search").key
    address = f"/admin/accounts/apikey/{key.pk}/change/"
    assert b'name="prompts"' in admin_client.get(address).content

    admin_client.post(address, {"name": "search", "scopes": ["generate"], "prompts": "never"})

    key.refresh_from_db()
    assert key.prompts == Prompts.NEVER


def test_the_holder_of_a_key_is_told(client: Client) -> None:
    key = services.create_key(name="search", prompts=Prompts.NEVER).plaintext
    assert client.get("/keys/me", headers={"X-API-Key": key}).json()["prompts"] == "never"
