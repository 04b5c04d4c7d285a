"""`POST /v1/responses` with `stream`: the events, and how they end."""

import threading
from typing import Any

import pytest

from accounts.models import DailyUsage, Reservation
from inference.api import stream
from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed
from tests.openai_api import refused
from tests.openai_responses import LOGPROBS, answered, events, without_identity

pytestmark = pytest.mark.django_db


def test_the_events_of_a_stream_add_up_to_the_unstreamed_response(call: Any) -> None:
    body = {"input": "Hi", "seed": 3, "max_output_tokens": 12, **LOGPROBS}
    whole = answered(call("responses", **body))
    streamed = events(call("responses", **body, stream=True))
    deltas = [event.data for event in streamed if event.name == "response.output_text.delta"]
    assert [event.name for event in streamed] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * len(deltas),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    created, last = streamed[0].data["response"], streamed[-1].data["response"]
    assert (created["status"], created["output"]) == ("in_progress", [])
    assert "usage" not in created
    assert without_identity(last) == without_identity(whole)
    assert last["id"] == created["id"]
    [item] = last["output"]
    [part] = item["content"]
    added, done = streamed[2].data["item"], streamed[-2].data["item"]
    assert added == {**item, "status": "in_progress", "content": []}
    assert done == item
    assert streamed[3].data["part"] == {**part, "text": "", "logprobs": []}
    assert streamed[-3].data["part"] == part
    assert "".join(delta["delta"] for delta in deltas) == streamed[-4].data["text"] == part["text"]
    assert [entry for delta in deltas for entry in delta["logprobs"]] == part["logprobs"]
    assert {event.data["item_id"] for event in streamed[3:-2]} == {item["id"]}


def test_a_stream_that_waits_announces_its_response(
    call: Any, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "START_WITHIN_S", 0.02)
    monkeypatch.setattr(stream, "CHECK_EVERY_S", 0.01)
    forward, computes = chat_engine._model.forward, threading.Event()

    def wait(segments: Any) -> Any:
        assert computes.wait(30)
        return forward(segments)

    monkeypatch.setattr(chat_engine._model, "forward", wait)
    read = iter(call("responses", input="Hi", stream=True, max_output_tokens=4).streaming_content)
    assert [next(read).split(b"\n")[0] for _ in range(2)] == [
        b"event: response.created",
        b"event: response.in_progress",
    ]
    assert next(read) == stream.KEEP_ALIVE
    computes.set()
    assert b"event: response.incomplete" in b"".join(read)


def test_a_failure_after_the_first_event_is_a_failed_response(
    call: Any, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, steps = chat_engine._model.forward, 0

    def fail_later(segments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 4:
            raise GenerationFailed("broken")
        return forward(segments)

    monkeypatch.setattr(chat_engine._model, "forward", fail_later)
    streamed = events(call("responses", input="Hi", stream=True, max_output_tokens=100))
    assert streamed[-1].name == "response.failed"
    response = streamed[-1].data["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert response["id"] == streamed[0].data["response"]["id"]
    assert "broken" not in response["error"]["message"]
    assert DailyUsage.objects.get().failed == 1
    assert not Reservation.objects.exists()


def test_closing_a_stream_cancels_the_response(call: Any, chat_engine: Engine) -> None:
    read = call("responses", input="Hi", stream=True)._iterator
    next(read)
    read.close()
    assert chat_engine.load.running == 0
    assert DailyUsage.objects.get().cancelled == 1


def test_a_failure_before_the_first_event_is_an_ordinary_error(
    call: Any, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(segments: object) -> Any:
        raise GenerationFailed("broken")

    monkeypatch.setattr(chat_engine._model, "forward", fail)
    assert refused(call("responses", input="Hi", stream=True), 500)["type"] == "server_error"
