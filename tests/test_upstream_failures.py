"""An engine behind the service that is overloaded, refuses, breaks off, hangs, or tells nothing."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from inference.engine.errors import (
    EngineError,
    GenerationFailed,
    Interrupted,
    Overloaded,
    Unavailable,
    UpstreamRefused,
    UpstreamSilent,
)
from tests.scripted_engine import (
    ScriptedEngine,
    as_json,
    chunk,
    drops,
    each_in_turn,
    error,
    scripted_engine,
    stream,
)
from tests.upstream_requests import COMPLETIONS, TWO, WAIT_S, Connect, connecting, request, submit, used
from tests.waiting import wait_for


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


@pytest.fixture
def connect(engine: ScriptedEngine) -> Iterator[Connect]:
    with connecting(engine) as connect:
        yield connect


NESTED = b'{"a":' * 100_000
"""JSON for which Python's parser raises RecursionError."""
OVERLOAD = [error(429, "Slow down."), error(503, "Full.")]


@pytest.mark.parametrize("answer", OVERLOAD)
def test_overload_there_is_overload_here(engine: ScriptedEngine, connect: Connect, answer: Any) -> None:
    engine.answers[COMPLETIONS] = answer
    backend = connect(failures=1)
    with pytest.raises(Overloaded) as caught:
        submit(backend, request()).result(WAIT_S)
    assert caught.value.retry_after_s == 5
    assert backend.fault == ""
    assert len(engine.bodies(COMPLETIONS)) == 1


LOADING = [
    error(503, "The model is loading.", code="unavailable"),
    as_json({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, status=503),
]


@pytest.mark.parametrize("answer", LOADING)
def test_an_engine_that_starts_or_ends_is_not_called_overloaded(
    engine: ScriptedEngine, connect: Connect, answer: Any
) -> None:
    engine.answers[COMPLETIONS] = answer
    backend = connect(failures=1)
    with pytest.raises(Unavailable, match="starting or ending"):
        submit(backend, request()).result(WAIT_S)
    assert backend.fault == ""  # it answers
    engine.answers[COMPLETIONS] = each_in_turn(answer, stream(*TWO))
    assert submit(backend, request()).result(WAIT_S).text == "Hello"


def test_a_refusal_there_names_the_field_here(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = error(400, "Bad regex.", param="structured_outputs.regex")
    with pytest.raises(UpstreamRefused, match="Bad regex") as caught:
        submit(connect(), request()).result(WAIT_S)
    assert caught.value.field == "structured_outputs.regex"


def test_a_refused_key_stops_requests_until_it_is_accepted(engine: ScriptedEngine, connect: Connect) -> None:
    backend = connect()
    engine.answers[COMPLETIONS] = engine.answers["/v1/models"] = error(401, "No.")
    with pytest.raises(Unavailable, match="LLM_UPSTREAM_API_KEY"):
        submit(backend, request()).result(WAIT_S)
    assert "LLM_UPSTREAM_API_KEY" in backend.fault
    asked = len(engine.bodies(COMPLETIONS))
    with pytest.raises(Unavailable, match="LLM_UPSTREAM_API_KEY"):
        backend.prepare(request())
    assert len(engine.bodies(COMPLETIONS)) == asked

    engine.answers = {COMPLETIONS: stream(*TWO)}
    wait_for(lambda: backend.fault == "")
    assert submit(backend, request()).result(WAIT_S).text == "Hello"


@pytest.mark.parametrize("first", [drops, error(502, "Bad gateway.")])
def test_an_attempt_that_brought_nothing_is_repeated(
    engine: ScriptedEngine, connect: Connect, first: Any
) -> None:
    engine.answers[COMPLETIONS] = each_in_turn(first, stream(*TWO))
    generation = submit(connect(), request())
    assert generation.result(WAIT_S).text == "Hello"
    assert used(generation) == (5, 3)
    assert len(engine.bodies(COMPLETIONS)) == 2


def test_a_text_that_has_begun_is_not_begun_again(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = each_in_turn(stream(*TWO[:1], done=False), stream(*TWO))
    generation = submit(connect(), request())
    with pytest.raises(Interrupted, match="broke off"):
        generation.result(WAIT_S)
    assert used(generation) == (5, 1)
    assert len(engine.bodies(COMPLETIONS)) == 1


def test_a_text_that_nobody_has_seen_is_begun_again(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = each_in_turn(stream(*TWO[:1], done=False), stream(*TWO))
    generation = submit(connect(), request(streamed=False))
    completion = generation.result(WAIT_S)
    assert (completion.text, completion.token_ids) == ("Hello", (1, 2, 3))
    assert used(generation) == (5, 3)
    assert len(engine.bodies(COMPLETIONS)) == 2


@pytest.mark.parametrize(
    "answer",
    [
        stream(b"data: {not json}\n\n"),
        stream(b'data: {"choices": [{"text": 5}]}\n\n'),
        stream(b'data: {"choices": 7}\n\n'),
        stream(b"data: " + NESTED + b"\n\n"),
        stream(chunk("Hel", usage=(-5, 1))),
        stream(chunk("Hel", usage=(5, 10**30))),
        stream(b'data: {"usage": {"prompt_tokens": 1e999, "completion_tokens": 1}}\n\n'),
        error(200, "Not a stream."),
    ],
)
def test_rubbish_is_an_error(engine: ScriptedEngine, connect: Connect, answer: Any) -> None:
    engine.answers[COMPLETIONS] = answer
    generation = submit(connect(), request())
    with pytest.raises(GenerationFailed, match="could not be read"):
        generation.result(WAIT_S)
    assert used(generation) == (0, 0)


def test_an_error_in_a_stream_is_an_error(engine: ScriptedEngine, connect: Connect) -> None:
    failed = b'data: {"error": {"message": "CUDA", "code": 500}}\n\n'
    engine.answers[COMPLETIONS] = stream(*TWO[:1], failed)
    with pytest.raises(GenerationFailed, match="failed on this request"):
        submit(connect(), request()).result(WAIT_S)


@pytest.mark.parametrize(
    ("limit", "pieces", "reason"),
    [("silence_s", TWO[:1], "fell silent for 0.2 s"), ("first_byte_s", None, "within 0.2 s")],
)
def test_an_engine_that_hangs_is_given_up(
    engine: ScriptedEngine, connect: Connect, limit: str, pieces: Any, reason: str
) -> None:
    backend = connect(**{limit: 0.2})

    def hang(*_: object) -> None:
        engine.gone.wait(WAIT_S)

    engine.answers[COMPLETIONS] = hang if pieces is None else stream(*pieces, hang)
    with pytest.raises(UpstreamSilent, match=reason):
        submit(backend, request()).result(WAIT_S)
    engine.gone.set()


def test_an_engine_that_fails_is_left_alone_until_a_probe_finds_it_again(
    engine: ScriptedEngine, connect: Connect
) -> None:
    backend = connect(failures=3)
    prepared = backend.prepare(request())
    engine.answers[COMPLETIONS] = engine.answers["/v1/models"] = drops

    with pytest.raises(Unavailable, match="cannot be reached"):
        backend.submit(prepared).result(WAIT_S)  # three attempts
    assert "cannot be reached" in backend.fault
    with pytest.raises(Unavailable, match="cannot be reached"):
        backend.submit(prepared)
    assert len(engine.bodies(COMPLETIONS)) == 3

    engine.answers[COMPLETIONS] = stream(*TWO)
    del engine.answers["/v1/models"]
    wait_for(lambda: backend.fault == "")
    assert backend.submit(prepared).result(WAIT_S).text == "Hello"


@pytest.mark.parametrize("listing", [as_json(NESTED), as_json([]), error(500, "Broken.")])
def test_a_probe_that_is_answered_with_rubbish_is_repeated(
    engine: ScriptedEngine, connect: Connect, listing: Any
) -> None:
    backend = connect(failures=1)
    prepared = backend.prepare(request())
    engine.answers[COMPLETIONS] = drops
    engine.answers["/v1/models"] = listing
    with pytest.raises(Unavailable):
        backend.submit(prepared).result(WAIT_S)
    asked = len(engine.bodies("/v1/models"))
    wait_for(lambda: len(engine.bodies("/v1/models")) >= asked + 2)

    engine.answers.clear()
    wait_for(lambda: backend.fault == "")


def test_a_probe_that_fails_here_is_repeated(
    engine: ScriptedEngine, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = connect(failures=1)
    prepared = backend.prepare(request())
    engine.answers[COMPLETIONS] = drops
    asked = threading.Event()

    async def fails(*_: object) -> None:
        asked.set()
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr("inference.engine.upstream.backend.served_model", fails)
        with pytest.raises(Unavailable):
            backend.submit(prepared).result(WAIT_S)
        assert asked.wait(WAIT_S)

    wait_for(lambda: backend.fault == "")


def test_an_answer_that_trickles_is_given_up(engine: ScriptedEngine, connect: Connect) -> None:
    backend = connect(first_byte_s=0.2, silence_s=0.2)

    def trickles(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not engine.gone.wait(0.02):
            handler.wfile.write(b" ")

    engine.answers["/tokenize"] = trickles
    with pytest.raises(UpstreamSilent, match=r"did not end its answer within 0\.4 s"):
        backend.prepare(request())
    assert engine.gone.wait(WAIT_S)


def test_stopping_ends_what_runs(engine: ScriptedEngine, connect: Connect) -> None:
    engine.answers[COMPLETIONS] = stream(*TWO[:1], lambda: engine.gone.wait(WAIT_S))
    backend = connect()
    generation = submit(backend, request())
    next(event for event in generation.events(WAIT_S) if event is not None)

    backend.drain()
    with pytest.raises(Unavailable, match="shutting down"):
        backend.submit(backend.prepare(request()))
    backend.stop()

    with pytest.raises(Interrupted):
        generation.result(WAIT_S)
    assert not backend.alive
    engine.gone.set()


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        ({"data": []}, "could not be read"),
        ({"data": [{"id": "a"}, {"id": "b"}]}, "LLM_UPSTREAM_MODEL"),
        ({"data": [{"id": "a"}]}, "LLM_UPSTREAM_CONTEXT"),
    ],
)
def test_an_engine_that_does_not_tell_what_it_serves_is_not_used(
    engine: ScriptedEngine, connect: Connect, listing: Any, reason: str
) -> None:
    engine.answers["/v1/models"] = as_json(listing)
    with pytest.raises(EngineError, match=reason):
        connect()
