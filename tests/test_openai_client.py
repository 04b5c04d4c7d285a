"""OpenAI's official client in front of the application, without a server: failures that are hard to cause."""

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections

from inference.engine.engine import Engine
from inference.engine.errors import DeadlineExceeded, EngineError, GenerationFailed, Overloaded, Unavailable
from inference.engine.generation import Event, Generation
from tests.openai_api import PROMPT, USER

pytestmark = pytest.mark.django_db


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Keeps the connection of the test, which Django would close with each request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def client(key: str, chat_engine: Engine, _one_connection: None) -> Iterator[openai.OpenAI]:
    transport = httpx2.WSGITransport(app=get_wsgi_application(), raise_app_exceptions=False)
    http_client = httpx2.Client(transport=transport)
    with openai.OpenAI(base_url="http://testserver/v1", api_key=key, http_client=http_client) as client:
        yield client


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client waits before each further attempt; it does not really wait."""
    seconds: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", seconds.append)
    return seconds


def refuse(engine: Engine, monkeypatch: pytest.MonkeyPatch, *errors: EngineError) -> None:
    """Have the engine refuse the next requests."""
    submit, left = engine.submit_all, list(errors)

    def refusing(prepared: Any) -> list[Generation]:
        if left:
            raise left.pop(0)
        return submit(prepared)

    monkeypatch.setattr(engine, "submit_all", refusing)


def fail(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: EngineError, *texts: str
) -> list[Generation]:
    """Have the engine fail after it has written some texts."""
    submitted = []

    def failing(prepared: Any) -> list[Generation]:
        generations = [Generation(one, submitted_at=0.0) for one in prepared]
        for generation in generations:
            for text in texts:
                generation.publish(Event(text=text, token_ids=(1,)), now=0.0)
            generation.finish(error, now=0.0)
        submitted.extend(generations)
        return generations

    monkeypatch.setattr(engine, "submit_all", failing)
    return submitted


def test_the_client_tries_again_when_it_is_told_to(
    client: openai.OpenAI, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    refuse(chat_engine, monkeypatch, Overloaded(retry_after_s=7), Unavailable("The model is loading."))
    client.completions.create(model=chat_engine.model_name, prompt=PROMPT, max_tokens=1)
    assert pauses == [7, 5]


def test_the_client_does_not_repeat_what_took_too_long(
    client: openai.OpenAI, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """Each attempt would cost its tokens, and take as long."""
    submitted = fail(chat_engine, monkeypatch, DeadlineExceeded())
    with pytest.raises(openai.InternalServerError) as late:
        client.chat.completions.create(model=chat_engine.model_name, messages=USER)  # type: ignore[arg-type]
    assert (late.value.status_code, late.value.code) == (504, "time_limit")
    assert len(submitted) == 1
    assert not pauses


def test_a_failure_in_a_stream_is_an_error_of_the_client(
    client: openai.OpenAI, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(chat_engine, monkeypatch, GenerationFailed("The model failed."), "Once", " upon")
    stream = client.completions.create(model=chat_engine.model_name, prompt=PROMPT, stream=True)
    assert [next(stream).choices[0].text for _ in range(2)] == ["Once", " upon"]
    with pytest.raises(openai.APIError, match=r"The model failed\.") as failed:
        next(stream)
    assert failed.value.code == "generation_failed"


def test_answers_and_errors_have_the_id_of_the_request(client: openai.OpenAI, chat_engine: Engine) -> None:
    headers = {"X-Request-ID": "mine-1"}
    answer = client.completions.create(
        model=chat_engine.model_name, prompt=PROMPT, max_tokens=1, extra_headers=headers
    )
    assert answer._request_id == "mine-1"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("gpt-4o", extra_headers=headers)
    assert unknown.value.request_id == "mine-1"


@pytest.mark.parametrize(
    ("call", "kind", "code"),
    [
        (lambda client: client.embeddings.create(model="a", input="b"), openai.NotFoundError, "not_found"),
        (
            lambda client: client.completions.create(model="a", prompt="b"),
            openai.NotFoundError,
            "model_not_found",
        ),
        (
            lambda client: client.completions.create(model="a", prompt=""),
            openai.BadRequestError,
            "invalid_fields",
        ),
        (
            lambda client: client.with_options(api_key="wrong").models.list(),
            openai.AuthenticationError,
            "invalid_api_key",
        ),
    ],
)
def test_errors_have_the_class_and_the_code_that_callers_catch(
    client: openai.OpenAI, call: Any, kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as refused:
        call(client)
    assert refused.value.code == code
