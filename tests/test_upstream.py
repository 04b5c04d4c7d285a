"""An engine behind the service: what is asked of it, what is read, and what is counted."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    Overloaded,
    PromptTooLong,
    UpstreamRefused,
)
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat, SamplingParams
from tests.scripted_engine import (
    ScriptedEngine,
    chunk,
    error,
    scripted_engine,
    stream,
)
from tests.upstream_requests import COMPLETIONS, TWO, WAIT_S, Connect, connecting, request, submit, used


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


@pytest.fixture
def connect(engine: ScriptedEngine) -> Iterator[Connect]:
    with connecting(engine) as connect:
        yield connect


def test_a_text_comes_in_pieces_with_the_engines_own_count(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = stream(*TWO)
    generation = submit(connect(), request(stop=("\n",), max_new_tokens=9))

    completion = generation.result(WAIT_S)

    assert (completion.text, completion.finish_reason) == ("Hello", "stop")
    assert completion.token_ids == (1, 2, 3)
    assert used(generation) == (5, 3)
    events = [event for event in generation.events_from(0) if event.text]
    assert [(event.text, event.token_ids) for event in events] == [("Hel", (1,)), ("lo", (2, 3))]
    [(_, headers, body)] = [asked for asked in engine.asked if asked[0] == COMPLETIONS]
    assert headers["X-Request-ID"] == "request-7"
    assert body["prompt"] == "Hello"
    assert (body["max_tokens"], body["seed"], body["stop"]) == (9, 3, ["\n"])
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_the_salt_differs_between_keys_and_stays_with_one(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = stream(*TWO)
    backend = connect()
    for owner in "one", "two", "one":
        submit(backend, request(owner=owner)).result(WAIT_S)

    first, other, again = [body["cache_salt"] for body in engine.bodies(COMPLETIONS)]
    assert first == again != other
    assert "one" not in first


def test_the_key_of_the_engine_is_sent(engine: ScriptedEngine, connect: Connect) -> None:
    connect(api_key="secret")
    assert engine.asked[0][1]["Authorization"] == "Bearer secret"


def test_what_the_engine_does_not_have_is_refused_by_name(engine: ScriptedEngine, connect: Connect) -> None:
    engine.owner = "someone"
    backend = connect()
    for refused, field in [
        (request(sampling=SamplingParams(top_k=5)), "top_k"),
        (request(min_tokens=2), "min_tokens"),
        (request(token_ids=True), "return_token_ids"),
        (request(prompt_logprobs=1), "prompt_logprobs"),
        (request(grammar=Grammar("regex", "a+", "regex")), "regex"),
        (request(Chat(({"role": "assistant", "content": "A"},), continue_final_message=True)), "messages"),
    ]:
        with pytest.raises(UpstreamRefused, match=field) as caught:
            backend.prepare(refused)
        assert caught.value.field == field
    assert not engine.bodies(COMPLETIONS)


def test_a_prompt_is_counted_before_it_is_sent(engine: ScriptedEngine, connect: Connect) -> None:
    backend = connect()
    assert backend.prepare(request("four")).prompt_tokens == 4
    with pytest.raises(PromptTooLong, match="256"):
        backend.prepare(request("x" * 250, max_new_tokens=7))


def test_without_a_tokenizer_a_prompt_is_estimated_and_then_charged_as_reported(
    engine: ScriptedEngine, connect: Connect
) -> None:
    engine.answers["/tokenize"] = error(404, "Not Found")
    engine.answers[COMPLETIONS] = stream(*TWO)
    backend, estimated = connect(), request("a longer prompt of some words")

    assert 5 < backend.prepare(estimated).prompt_tokens < 20
    generation = submit(backend, estimated)
    assert generation.result(WAIT_S).prompt_tokens == 5
    assert used(generation) == (5, 3)


def test_what_is_not_reported_is_counted_by_the_tokenizer(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = stream(chunk("Hel"), chunk("lo", finish_reason="length"))
    generation = submit(connect(), request("four"))

    assert generation.result(WAIT_S).completion_tokens == 5  # every byte is a token
    assert used(generation) == (4, 5)


def test_cancelling_closes_the_connection_and_charges_what_came(
    engine: ScriptedEngine, connect: Connect
) -> None:
    begun = threading.Event()

    def endless() -> None:
        begun.set()
        while not engine.gone.wait(0.01):
            raise_if_closed()

    def raise_if_closed() -> None:
        handler[0].wfile.write(b": waiting\n\n")

    handler: list[Any] = []

    def answer(one: Any) -> None:
        handler.append(one)
        stream(*TWO[:2], endless)(one)

    engine.answers[COMPLETIONS] = answer
    generation = submit(connect(), request())
    assert begun.wait(WAIT_S)
    next(event for event in generation.events(WAIT_S) if event is not None and event.text == "lo")

    generation.cancel()

    with pytest.raises(Cancelled):
        generation.result(WAIT_S)
    assert engine.gone.wait(WAIT_S)
    assert used(generation) == (5, 3)


def test_a_request_that_is_cancelled_while_it_waits_is_never_sent(
    engine: ScriptedEngine, connect: Connect
) -> None:
    go_on = threading.Event()
    engine.answers[COMPLETIONS] = stream(lambda: go_on.wait(WAIT_S), *TWO)
    backend = connect(max_running=1)
    first, second = submit(backend, request()), submit(backend, request())

    second.cancel()
    with pytest.raises(Cancelled):
        second.result(WAIT_S)
    go_on.set()

    assert first.result(WAIT_S).text == "Hello"
    assert used(second) == (0, 0)
    assert len(engine.bodies(COMPLETIONS)) == 1
    assert (backend.load.running, backend.load.queued) == (0, 0)


def test_keys_take_turns_and_a_full_queue_refuses(engine: ScriptedEngine, connect: Connect) -> None:
    go_on = threading.Event()
    engine.answers[COMPLETIONS] = stream(lambda: go_on.wait(WAIT_S), *TWO)
    backend = connect(max_running=1, max_queued=2)
    many = [submit(backend, request("A", owner="many")) for _ in range(3)]
    with pytest.raises(Overloaded):
        submit(backend, request("A", owner="many"))
    few = submit(backend, request("B", owner="few"))  # takes the place of the newest of the other

    with pytest.raises(Overloaded):
        many[2].result(WAIT_S)
    go_on.set()
    for generation in (*many[:2], few):
        generation.result(WAIT_S)
    assert [body["prompt"] for body in engine.bodies(COMPLETIONS)] == ["A", "A", "B"]


def test_a_request_ends_at_its_time_limit(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = stream(*TWO[:1], lambda: engine.gone.wait(WAIT_S))
    generation = submit(connect(), request(timeout_s=0.3))
    with pytest.raises(DeadlineExceeded, match="time limit"):
        generation.result(WAIT_S)
    assert used(generation) == (5, 1)
    engine.gone.set()
