"""An engine behind the service: what is asked of it, what is read, and what is counted."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineError,
    GenerationFailed,
    Interrupted,
    Overloaded,
    PromptTooLong,
    Unavailable,
    UpstreamRefused,
    UpstreamSilent,
)
from inference.engine.generation import Generation
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat, GenerationRequest, SamplingParams
from inference.engine.upstream.backend import UpstreamBackend
from inference.engine.upstream.config import UpstreamConfig
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
from tests.waiting import wait_for

WAIT_S = 20
COMPLETIONS = "/v1/completions"


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


@pytest.fixture
def connect(engine: ScriptedEngine) -> Iterator[Any]:
    """Makes a backend that is connected to the engine."""
    backends = []

    def connect(**config: Any) -> UpstreamBackend:
        values = {"url": engine.url, "pause_s": 0.05, "salt_key": b"salt", **config}
        backend = UpstreamBackend(UpstreamConfig(**values), request_id=lambda: "request-7")
        backends.append(backend)
        backend.start()
        backend.connect()
        return backend

    yield connect
    for backend in backends:
        backend.stop()


def request(prompt: Any = "Hello", **fields: Any) -> GenerationRequest:
    sampling = fields.pop("sampling", SamplingParams(seed=3, top_k=0))
    return GenerationRequest(prompt=prompt, sampling=sampling, **{"owner": "key", "timeout_s": 20, **fields})


def submit(backend: UpstreamBackend, one: GenerationRequest) -> Generation:
    return backend.submit(backend.prepare(one))


def used(generation: Generation) -> tuple[int, int]:
    """The tokens that are charged."""
    return generation.computed_prompt_tokens, generation.completion_tokens


TWO = (
    chunk("Hel", usage=(5, 1), token_ids=[1]),
    chunk("lo", usage=(5, 3), token_ids=[2, 3]),
    chunk(usage=(5, 3), finish_reason="stop"),
)


def test_a_text_comes_in_pieces_with_the_engines_own_count(engine: ScriptedEngine, connect: Any) -> None:
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


def test_the_salt_differs_between_keys_and_stays_with_one(engine: ScriptedEngine, connect: Any) -> None:
    engine.answers[COMPLETIONS] = stream(*TWO)
    backend = connect()
    for owner in "one", "two", "one":
        submit(backend, request(owner=owner)).result(WAIT_S)

    first, other, again = [body["cache_salt"] for body in engine.bodies(COMPLETIONS)]
    assert first == again != other
    assert "one" not in first


def test_the_key_of_the_engine_is_sent(engine: ScriptedEngine, connect: Any) -> None:
    connect(api_key="secret")
    assert engine.asked[0][1]["Authorization"] == "Bearer secret"


def test_what_the_engine_does_not_have_is_refused_by_name(engine: ScriptedEngine, connect: Any) -> None:
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


def test_a_prompt_is_counted_before_it_is_sent(engine: ScriptedEngine, connect: Any) -> None:
    backend = connect()
    assert backend.prepare(request("four")).prompt_tokens == 4
    with pytest.raises(PromptTooLong, match="256"):
        backend.prepare(request("x" * 250, max_new_tokens=7))


def test_without_a_tokenizer_a_prompt_is_estimated_and_then_charged_as_reported(
    engine: ScriptedEngine, connect: Any
) -> None:
    engine.answers["/tokenize"] = error(404, "Not Found")
    engine.answers[COMPLETIONS] = stream(*TWO)
    generation = submit(connect(), request("a longer prompt of some words"))

    assert 5 < generation.prompt_tokens < 20
    assert generation.result(WAIT_S).prompt_tokens == 5
    assert used(generation) == (5, 3)


def test_what_is_not_reported_is_counted_by_the_tokenizer(engine: ScriptedEngine, connect: Any) -> None:
    engine.answers[COMPLETIONS] = stream(chunk("Hel"), chunk("lo", finish_reason="length"))
    generation = submit(connect(), request("four"))

    assert generation.result(WAIT_S).completion_tokens == 5  # every byte is a token
    assert used(generation) == (4, 5)


def test_cancelling_closes_the_connection_and_charges_what_came(engine: ScriptedEngine, connect: Any) -> None:
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
    engine: ScriptedEngine, connect: Any
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


def test_keys_take_turns_and_a_full_queue_refuses(engine: ScriptedEngine, connect: Any) -> None:
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


def test_a_request_ends_at_its_time_limit(engine: ScriptedEngine, connect: Any) -> None:
    engine.answers[COMPLETIONS] = stream(*TWO[:1], lambda: engine.gone.wait(WAIT_S))
    generation = submit(connect(), request(timeout_s=0.3))
    with pytest.raises(DeadlineExceeded, match="time limit"):
        generation.result(WAIT_S)
    assert used(generation) == (5, 1)
    engine.gone.set()


OVERLOAD = [error(429, "Slow down."), error(503, "Full.")]


@pytest.mark.parametrize("answer", OVERLOAD)
def test_overload_there_is_overload_here(engine: ScriptedEngine, connect: Any, answer: Any) -> None:
    engine.answers[COMPLETIONS] = answer
    backend = connect(failures=1)
    with pytest.raises(Overloaded) as caught:
        submit(backend, request()).result(WAIT_S)
    assert caught.value.retry_after_s == 5
    assert backend.fault == ""
    assert len(engine.bodies(COMPLETIONS)) == 1


def test_a_refusal_there_names_the_field_here(engine: ScriptedEngine, connect: Any) -> None:
    engine.answers[COMPLETIONS] = error(400, "Bad regex.", param="structured_outputs.regex")
    with pytest.raises(UpstreamRefused, match="Bad regex") as caught:
        submit(connect(), request()).result(WAIT_S)
    assert caught.value.field == "structured_outputs.regex"


def test_a_refused_key_stops_requests_until_it_is_accepted(engine: ScriptedEngine, connect: Any) -> None:
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
    engine: ScriptedEngine, connect: Any, first: Any
) -> None:
    engine.answers[COMPLETIONS] = each_in_turn(first, stream(*TWO))
    generation = submit(connect(), request())
    assert generation.result(WAIT_S).text == "Hello"
    assert used(generation) == (5, 3)
    assert len(engine.bodies(COMPLETIONS)) == 2


def test_a_text_that_has_begun_is_not_begun_again(engine: ScriptedEngine, connect: Any) -> None:
    engine.answers[COMPLETIONS] = each_in_turn(stream(*TWO[:1], done=False), stream(*TWO))
    generation = submit(connect(), request())
    with pytest.raises(Interrupted, match="broke off"):
        generation.result(WAIT_S)
    assert used(generation) == (5, 1)
    assert len(engine.bodies(COMPLETIONS)) == 1


def test_a_text_that_nobody_has_seen_is_begun_again(engine: ScriptedEngine, connect: Any) -> None:
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
        error(200, "Not a stream."),
    ],
)
def test_rubbish_is_an_error(engine: ScriptedEngine, connect: Any, answer: Any) -> None:
    engine.answers[COMPLETIONS] = answer
    generation = submit(connect(), request())
    with pytest.raises(GenerationFailed, match="could not be read"):
        generation.result(WAIT_S)
    assert used(generation) == (0, 0)


def test_an_error_in_a_stream_is_an_error(engine: ScriptedEngine, connect: Any) -> None:
    failed = b'data: {"error": {"message": "CUDA", "code": 500}}\n\n'
    engine.answers[COMPLETIONS] = stream(*TWO[:1], failed)
    with pytest.raises(GenerationFailed, match="failed on this request"):
        submit(connect(), request()).result(WAIT_S)


@pytest.mark.parametrize(
    ("limit", "pieces", "reason"),
    [("silence_s", TWO[:1], "fell silent for 0.2 s"), ("first_byte_s", None, "within 0.2 s")],
)
def test_an_engine_that_hangs_is_given_up(
    engine: ScriptedEngine, connect: Any, limit: str, pieces: Any, reason: str
) -> None:
    backend = connect(**{limit: 0.2})

    def hang(*_: object) -> None:
        engine.gone.wait(WAIT_S)

    engine.answers[COMPLETIONS] = hang if pieces is None else stream(*pieces, hang)
    with pytest.raises(UpstreamSilent, match=reason):
        submit(backend, request()).result(WAIT_S)
    engine.gone.set()


def test_an_engine_that_fails_is_left_alone_until_a_probe_finds_it_again(
    engine: ScriptedEngine, connect: Any
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


def test_stopping_ends_what_runs(engine: ScriptedEngine, connect: Any) -> None:
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
    engine: ScriptedEngine, connect: Any, listing: Any, reason: str
) -> None:
    engine.answers["/v1/models"] = as_json(listing)
    with pytest.raises(EngineError, match=reason):
        connect()
