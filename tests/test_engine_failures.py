"""The engine when something fails or ends: only the cause fails, and nobody is left waiting."""

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch

from inference.engine.compute.model import LanguageModel
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import (
    GenerationFailed,
    Unavailable,
)
from inference.engine.request import SamplingParams
from inference.engine.segment import Segment
from tests.engine_requests import alone, finish, request, submit
from tests.models import byte_tokenizer, tiny_engine

GREEDY = SamplingParams(do_sample=False)
PROMPTS = ("a", "Grüße, 世界", "x" * 32, "The quick brown fox jumps over the lazy dog. " * 3)


@pytest.fixture
def stepped() -> Engine:
    """An engine that does nothing but what the test steps."""
    return tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=4, max_queued=4), start=False)


def poison(engine: Engine, monkeypatch: pytest.MonkeyPatch, broken: Callable[[list[Segment]], bool]) -> None:
    honest = LanguageModel.forward

    def forward(self: LanguageModel, segments: list[Segment]) -> torch.Tensor:
        if broken(segments):
            raise RuntimeError("a kernel failed")
        return honest(self, segments)

    monkeypatch.setattr(LanguageModel, "forward", forward)


def test_an_exception_inside_a_step_fails_its_cause_alone(
    stepped: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [alone(request("one")), alone(request("two"))]
    fatal = byte_tokenizer()("!")["input_ids"][0]
    one, bad, two = (submit(stepped, request(prompt)) for prompt in ("one", "bad!", "two"))
    poison(stepped, monkeypatch, lambda segments: any(fatal in s.token_ids[3:4] for s in segments))
    finish(stepped)
    with pytest.raises(GenerationFailed) as failure:
        bad.result()
    assert "kernel" not in str(failure.value)
    assert [one.result().text, two.result().text] == expected
    monkeypatch.undo()
    again = submit(stepped, request("one"))
    finish(stepped)
    assert again.result().text == expected[0]


def test_an_exception_that_passes_fails_nobody(stepped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [alone(request("one")), alone(request("two"))]
    generations = [
        submit(stepped, request("one")),
        submit(stepped, request("two")),
    ]
    steps = iter(range(10_000))
    poison(stepped, monkeypatch, lambda segments: len(segments) == 2 and next(steps) % 3 == 1)
    finish(stepped)
    assert [generation.result().text for generation in generations] == expected


def test_numbers_that_are_none_fail_their_request_alone(
    stepped: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LanguageModel.forward

    def forward(self: LanguageModel, segments: list[Segment]) -> torch.Tensor:
        logits = honest(self, segments).clone()
        for i, segment in enumerate(segments):
            if segment.token_ids[:2] == byte_tokenizer()("ba")["input_ids"]:
                logits[i] = float("nan")
        return logits

    monkeypatch.setattr(LanguageModel, "forward", forward)
    good, bad = (
        submit(stepped, request("one")),
        submit(stepped, request("bad")),
    )
    finish(stepped)
    monkeypatch.undo()
    with pytest.raises(GenerationFailed, match="not finite numbers"):
        bad.result()
    assert good.result().text == alone(request("one"))


def test_a_dead_engine_fails_what_it_held_and_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    monkeypatch.setattr(engine._scheduler, "admit", lambda now: 1 / 0)
    generation = submit(engine, request())
    with pytest.raises(Unavailable, match="internal error"):
        generation.result()
    with pytest.raises(Unavailable, match="internal error"):
        submit(engine, request())
    engine.stop()
    assert not engine.alive


def test_a_draining_engine_finishes_what_it_holds() -> None:
    engine = tiny_engine()
    generations = [submit(engine, request(seed=i, new=100)) for i in range(20)]
    engine.drain()
    with pytest.raises(Unavailable, match="shutting down"):
        submit(engine, request())
    assert {generation.result().completion_tokens for generation in generations} == {100}
    engine.stop()


def test_a_stopped_engine_leaves_nobody_waiting() -> None:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=1))
    generations = [submit(engine, request(seed=i, new=240)) for i in range(5)]
    engine.stop()
    assert not engine.alive
    for generation in generations:
        with suppress(Unavailable):  # it may have been done before
            generation.result(timeout_s=0)
