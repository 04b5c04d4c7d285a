"""`POST /generate` with `stream`: the events, what a stream costs, and how it ends."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import services
from accounts.models import DailyUsage, Reservation
from inference import runtime
from inference.api import stream
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed
from tests.examples import examples
from tests.models import tiny_engine
from tests.problems import problem
from tests.sse import ServerSentEvent, parse, pieces

pytestmark = pytest.mark.django_db

PROMPT = "Once upon a time"
BODY = {"prompt": PROMPT, "max_new_tokens": 12, "seed": 7, "temperature": 2.0, "top_k": 0}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=1024, max_running=2, max_queued=1))
    runtime.install(engine)
    yield engine
    runtime.stop()


@pytest.fixture
def generate(client: Client, engine: Engine) -> Any:
    key = services.create_key(name="tests").plaintext

    def post(body: Any, **headers: str) -> Any:
        headers = {"X-API-Key": key, **headers}
        return client.post("/generate", json.dumps(body), content_type="application/json", headers=headers)

    return post


def events(response: Any) -> list[ServerSentEvent]:
    """All events of the answer; the test client closes it after the last one."""
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    return list(parse(b"".join(response.streaming_content).decode().split("\n")))


def close(response: Any) -> None:
    """Close an answer that nobody has read, as a web server does, but keep the database of the test open."""
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)


def used() -> DailyUsage:
    return DailyUsage.objects.get()


def test_the_pieces_together_are_the_text_and_the_last_event_is_the_whole_answer(generate: Any) -> None:
    whole = generate(BODY).json()
    streamed = events(generate({**BODY, "stream": True}))
    assert len(streamed) > 2
    assert [event.name for event in streamed] == ["text"] * (len(streamed) - 1) + ["done"]
    assert pieces(streamed) == whole["completion"]
    assert streamed[-1].data == whole


@settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 1000),
    stop=st.lists(st.text(min_size=1, max_size=2).filter(str.isprintable), max_size=2),
)
def test_a_stream_is_the_unstreamed_text_for_any_seed_and_stop_strings(
    generate: Any, seed: int, stop: list[str]
) -> None:
    body = {**BODY, "seed": seed, "stop": stop}
    streamed = events(generate({**body, "stream": True}))
    assert streamed[-1].data == generate(body).json()
    assert pieces(streamed) == streamed[-1].data["completion"]
    assert all(event.data["text"] for event in streamed[:-1])
    assert not any(one in pieces(streamed) for one in stop)


@pytest.mark.parametrize(
    ("field", "accept", "streamed"),
    [
        (None, "text/event-stream", True),
        (None, "text/event-stream;q=0.9, text/plain", True),
        (None, "application/json, text/event-stream", False),
        (None, "*/*", False),
        (False, "text/event-stream", False),
        (True, "application/json", True),
    ],
)
def test_the_field_decides_and_without_it_the_accept_header(
    generate: Any, field: bool | None, accept: str, streamed: bool
) -> None:
    response = generate({**BODY, "max_new_tokens": 1, "stream": field}, Accept=accept)
    assert (response["Content-Type"] == "text/event-stream") is streamed
    close(response)


def test_no_proxy_may_store_or_hold_back_a_stream(generate: Any) -> None:
    response = generate({**BODY, "stream": True})
    assert response["Cache-Control"] == "no-store"
    assert response["X-Accel-Buffering"] == "no"
    close(response)


def test_a_stream_costs_what_the_unstreamed_text_costs(generate: Any) -> None:
    usage = events(generate({**BODY, "stream": True}))[-1].data["usage"]
    assert (used().prompt_tokens, used().completion_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert used().finished == 1
    assert not Reservation.objects.exists()


def test_what_is_refused_before_the_stream_is_an_ordinary_problem(generate: Any, client: Client) -> None:
    assert problem(generate({"prompt": "", "stream": True}), 422)
    assert problem(generate({**BODY, "prompt": "x" * 300, "stream": True}), 422)
    assert problem(generate({**BODY, "stream": "yes"}), 422)
    assert problem(client.post("/generate", {"stream": True}, "application/json"), 403)


def test_a_failure_before_the_first_event_is_an_ordinary_problem(
    generate: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(segments: object) -> Any:
        raise GenerationFailed("broken")

    monkeypatch.setattr(engine._model, "forward", fail)
    assert problem(generate({**BODY, "stream": True}), 500)
    assert used().failed == 1
    assert not Reservation.objects.exists()


def test_a_failure_after_the_first_event_is_the_last_event(
    generate: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, steps = engine._model.forward, 0

    def fail_later(segments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 4:
            raise GenerationFailed("broken")
        return forward(segments)

    monkeypatch.setattr(engine._model, "forward", fail_later)
    streamed = events(generate({**BODY, "max_new_tokens": 100, "stream": True}))
    assert streamed[-1].name == "error"
    assert streamed[-1].data["status"] == 500
    assert "broken" not in streamed[-1].data["detail"]
    assert used().failed == 1
    assert not Reservation.objects.exists()


def test_a_stream_that_nobody_reads_is_settled_when_it_is_closed(generate: Any) -> None:
    response = generate({**BODY, "max_new_tokens": 200, "stream": True})
    assert Reservation.objects.count() == 1
    close(response)
    assert not Reservation.objects.exists()
    assert used().finished + used().cancelled == 1


def test_closing_a_stream_ends_its_generation(generate: Any, engine: Engine) -> None:
    response = generate({**BODY, "max_new_tokens": 200, "stream": True})
    read = response._iterator  # the test client's: closing it closes the answer
    next(read)
    read.close()
    assert engine.load.running == 0
    assert used().cancelled == 1
    assert 0 < used().completion_tokens < 200
    assert not Reservation.objects.exists()


def test_a_stream_that_waits_starts_with_a_comment(
    generate: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "START_WITHIN_S", 0.02)
    monkeypatch.setattr(stream, "CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.03)
    forward, computes = engine._model.forward, threading.Event()

    def wait(segments: Any) -> Any:
        assert computes.wait(30)
        return forward(segments)

    monkeypatch.setattr(engine._model, "forward", wait)
    read = iter(generate({**BODY, "stream": True}).streaming_content)
    assert [next(read), next(read)] == [stream.KEEP_ALIVE] * 2
    computes.set()
    rest = b"".join(chunk for chunk in read if chunk != stream.KEEP_ALIVE)
    assert [event.name for event in parse(rest.decode().split("\n"))][-1] == "done"
