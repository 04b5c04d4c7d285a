"""The engine on tiny models: the texts are right, and no request can harm another."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.compute.model import LanguageModel
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    GenerationFailed,
    Overloaded,
    PromptTooLong,
    Unavailable,
)
from inference.engine.loader import load_engine
from inference.engine.request import Generation, GenerationRequest, SamplingParams
from inference.engine.segment import Segment
from tests.models import CONTEXT_LENGTH, SHAPES, byte_tokenizer, tiny_engine

GREEDY = SamplingParams(do_sample=False)
PROMPTS = ("a", "Grüße, 世界", "x" * 32, "The quick brown fox jumps over the lazy dog. " * 3)


def request(prompt: str = "Hello", *, new: int = 20, seed: int = 1, **more: object) -> GenerationRequest:
    fields: dict[str, object] = {"sampling": SamplingParams(seed=seed), "max_new_tokens": new, **more}
    return GenerationRequest(prompt_ids=tuple(byte_tokenizer()(prompt)["input_ids"]), **fields)  # type: ignore[arg-type]


@pytest.fixture(params=SHAPES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = tiny_engine(shape=request.param)
    yield engine
    engine.stop()


@pytest.fixture
def stepped() -> Engine:
    """An engine that does nothing but what the test steps."""
    return tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=4, max_queued=4), start=False)


@pytest.fixture
def full() -> tuple[Engine, list[Generation]]:
    """The same with its four places taken, by an owner who is no other test's."""
    engine = tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=4, max_queued=4), start=False)
    running = [engine.submit(request(seed=i, owner="first")) for i in range(4)]
    engine.step()
    return engine, running


def finish(engine: Engine, *, most: int = 2000) -> None:
    for _ in range(most):
        if not engine.step():
            return
    raise AssertionError("The engine does not come to an end")


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_text_is_that_of_generate(shape: str) -> None:
    engine, stock, tokenizer = tiny_engine(shape=shape), SHAPES[shape](), byte_tokenizer()
    for prompt in PROMPTS:
        ids = engine.tokenize(prompt)
        ours = engine.submit(GenerationRequest(prompt_ids=ids, sampling=GREEDY, max_new_tokens=60)).result()
        theirs = generate(stock, ids, max_new_tokens=60)
        assert engine.decode(ids) + ours.text == tokenizer.decode(theirs, skip_special_tokens=True)
    engine.stop()


def test_greedy_text_of_the_quick_start_model_is_that_of_generate(quickstart_model: Path) -> None:
    engine = load_engine(quickstart_model, name="quickstart", config=EngineConfig(kv_cache_tokens=2048))
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    stops = set()
    for prompt in (
        "The capital of France is",
        "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n",
    ):
        ids = engine.tokenize(prompt)
        ours = engine.submit(GenerationRequest(prompt_ids=ids, sampling=GREEDY, max_new_tokens=30)).result()
        theirs = generate(stock, ids, max_new_tokens=30, eos_token_id=stock.generation_config.eos_token_id)
        assert engine.decode(ids) + ours.text == engine.decode(theirs)
        assert ours.completion_tokens == len(theirs) - len(ids)
        stops.add(ours.finish_reason)
    assert "stop" in stops
    engine.stop()


def generate(stock: torch.nn.Module, ids: tuple[int, ...], **arguments: object) -> list[int]:
    prompt = torch.tensor([ids])
    arguments = {"eos_token_id": None, "pad_token_id": 0, **arguments}
    output = stock.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, **arguments)  # type: ignore[operator]
    return list(output[0].tolist())


def test_a_seed_gives_the_same_text_alone_and_among_others_that_come_and_go(engine: Engine) -> None:
    requests = [
        request("p" * (1 + 11 * i), new=5 + 7 * (i % 5), seed=i, sampling=SamplingParams(seed=i, top_p=0.9))
        for i in range(20)
    ]
    together = [generation.result().text for generation in [engine.submit(one) for one in requests]]
    alone = [engine.submit(one).result().text for one in requests]
    assert together == alone


def test_text_comes_in_pieces_that_are_the_whole(engine: Engine) -> None:
    generation = engine.submit(request(new=40))
    pieces = list(generation)
    assert len(pieces) > 1
    assert "".join(pieces) == generation.result().text
    assert list(generation) == [generation.result().text]  # read again, it is there at once


def test_it_ends_at_max_new_tokens_at_an_end_token_or_at_a_stop_string() -> None:
    engine = tiny_engine()
    whole = engine.submit(request(new=30)).result()
    assert (whole.finish_reason, whole.completion_tokens, whole.prompt_tokens) == ("length", 30, 5)
    middle = whole.text[8:10]
    stopped = engine.submit(request(new=30, stop=("never", middle))).result()
    assert (stopped.text, stopped.finish_reason) == (whole.text[: whole.text.index(middle)], "stop")
    assert stopped.completion_tokens < 30
    engine.stop()

    end = next(i for i, letter in enumerate(whole.text) if letter.isascii() and i > 2)
    ending = tiny_engine(eos_ids=(byte_tokenizer()(whole.text[end])["input_ids"][0],))
    ended = ending.submit(request(new=30)).result()
    assert ended.finish_reason == "stop"
    assert ended.text == whole.text[: whole.text.index(whole.text[end])]
    ending.stop()


@pytest.mark.parametrize("new", [0 + 1, CONTEXT_LENGTH - 5])
def test_a_prompt_that_just_fits_is_generated(engine: Engine, new: int) -> None:
    assert engine.submit(request(new=new)).result().completion_tokens == new


def test_what_can_never_be_generated_is_refused_at_once(stepped: Engine) -> None:
    with pytest.raises(PromptTooLong, match=r"5 tokens .* 252 more: together 257, and at most 256 fit"):
        stepped.submit(request(new=CONTEXT_LENGTH - 4))
    with pytest.raises(EmptyPrompt):
        stepped.submit(request(""))
    small = tiny_engine(EngineConfig(kv_cache_tokens=100), start=False)
    with pytest.raises(PromptTooLong, match="at most 100 fit"):
        small.submit(request(new=100))


def test_a_cancelled_request_ends_and_its_place_is_free(stepped: Engine) -> None:
    expected = alone(request("other"))
    generation, other = stepped.submit(request(new=200)), stepped.submit(request("other"))
    for _ in range(5):
        stepped.step()
    generation.cancel()
    finish(stepped)
    with pytest.raises(Cancelled):
        generation.result()
    assert generation.completion_tokens == 5
    assert other.result().text == expected
    assert stepped._model.cache.slots.free == 2048


def test_a_cancelled_request_that_waits_never_runs(full: tuple[Engine, list[Generation]]) -> None:
    engine, running = full
    waiting = engine.submit(request())
    waiting.cancel()
    finish(engine)
    with pytest.raises(Cancelled):
        waiting.result()
    assert waiting.completion_tokens == 0
    assert all(generation.done for generation in running)


def test_a_request_past_its_deadline_ends_running_or_waiting() -> None:
    now = [100.0]
    config = EngineConfig(kv_cache_tokens=2048, max_running=2)
    engine = tiny_engine(config, start=False, clock=lambda: now[0])
    late = engine.submit(request(new=200, timeout_s=10))
    other = engine.submit(request("other", timeout_s=1000))
    waits = engine.submit(request(timeout_s=10))
    engine.step()
    now[0] += 9.9
    engine.step()
    assert not late.done
    now[0] += 0.1
    finish(engine)
    for generation in (late, waits):
        with pytest.raises(DeadlineExceeded):
            generation.result()
    assert (late.completion_tokens, waits.completion_tokens) == (2, 0)
    assert other.result().text == alone(request("other"))


def test_the_times_tell_of_waiting_and_generating() -> None:
    now = [100.0]
    engine = tiny_engine(EngineConfig(kv_cache_tokens=600, max_running=1), start=False, clock=lambda: now[0])
    first, second = engine.submit(request(new=1)), engine.submit(request(new=2))
    for _ in range(3):
        now[0] += 2.0
        engine.step()
    assert (first.result().queued_s, first.result().generated_s) == (2.0, 0.0)
    assert (second.result().queued_s, second.result().generated_s) == (4.0, 2.0)


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
    one, bad, two = (stepped.submit(request(prompt)) for prompt in ("one", "bad!", "two"))
    poison(stepped, monkeypatch, lambda segments: any(fatal in s.token_ids[3:4] for s in segments))
    finish(stepped)
    with pytest.raises(GenerationFailed) as failure:
        bad.result()
    assert "kernel" not in str(failure.value)
    assert [one.result().text, two.result().text] == expected
    monkeypatch.undo()
    again = stepped.submit(request("one"))
    finish(stepped)
    assert again.result().text == expected[0]


def test_an_exception_that_passes_fails_nobody(stepped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [alone(request("one")), alone(request("two"))]
    generations = [stepped.submit(request("one")), stepped.submit(request("two"))]
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
            if segment.token_ids[:2] == list(request("bad").prompt_ids[:2]):
                logits[i] = float("nan")
        return logits

    monkeypatch.setattr(LanguageModel, "forward", forward)
    good, bad = stepped.submit(request("one")), stepped.submit(request("bad"))
    finish(stepped)
    monkeypatch.undo()
    with pytest.raises(GenerationFailed, match="not finite numbers"):
        bad.result()
    assert good.result().text == alone(request("one"))


def test_a_dead_engine_fails_what_it_held_and_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    monkeypatch.setattr(engine._scheduler, "admit", lambda now: 1 / 0)
    generation = engine.submit(request())
    with pytest.raises(Unavailable, match="internal error"):
        generation.result()
    with pytest.raises(Unavailable, match="internal error"):
        engine.submit(request())
    engine.stop()
    assert not engine.alive


def test_a_draining_engine_finishes_what_it_holds() -> None:
    engine = tiny_engine()
    generations = [engine.submit(request(seed=i, new=100)) for i in range(20)]
    engine.drain()
    with pytest.raises(Unavailable, match="shutting down"):
        engine.submit(request())
    assert {generation.result().completion_tokens for generation in generations} == {100}
    engine.stop()


def test_a_stopped_engine_leaves_nobody_waiting() -> None:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=1))
    generations = [engine.submit(request(seed=i, new=240)) for i in range(5)]
    engine.stop()
    assert not engine.alive
    for generation in generations:
        with suppress(Unavailable):  # it may have been done before
            generation.result(timeout_s=0)


def test_a_full_queue_says_when_to_come_again(full: tuple[Engine, list[Generation]]) -> None:
    engine, _ = full
    for i in range(4):
        engine.submit(request(seed=i))
    with pytest.raises(Overloaded) as refused:
        engine.submit(request())
    assert refused.value.retry_after_s >= 1
    finish(engine)
    engine.submit(request())


def test_an_idle_engine_takes_as_many_at_once_as_run_and_wait(stepped: Engine) -> None:
    for i in range(8):
        stepped.submit(request(seed=i))
    with pytest.raises(Overloaded):
        stepped.submit(request())


def test_without_a_queue_a_free_place_is_still_taken() -> None:
    config = EngineConfig(kv_cache_tokens=512, max_running=1, max_queued=0)
    engine = tiny_engine(config, start=False)
    engine.submit(request())
    with pytest.raises(Overloaded):
        engine.submit(request())


def test_a_full_queue_makes_room_for_an_owner_who_waits_for_less(
    full: tuple[Engine, list[Generation]],
) -> None:
    engine, _ = full
    greedy = [engine.submit(request(seed=i, owner="greedy")) for i in range(4)]
    modest = engine.submit(request(owner="modest"))
    assert greedy[-1].done  # the newest of the one who waits for most
    with pytest.raises(Overloaded):
        greedy[-1].result()
    second = engine.submit(request(owner="modest"))
    with pytest.raises(Overloaded):  # two and two: even
        engine.submit(request(owner="modest"))
    finish(engine)
    assert all(g.result() for g in [*greedy[:2], modest, second])


def test_owners_get_turns() -> None:
    order: list[str] = []
    engine = tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=2, max_queued=100), start=False)

    def submit(owner: str, count: int) -> list[Generation]:
        return [engine.submit(request(seed=i, owner=owner, new=10)) for i in range(count)]

    pending = {"busy": submit("busy", 20), "calm": submit("calm", 2), "other": submit("other", 2)}
    while engine.step():
        for owner, generations in pending.items():
            order += [owner for g in generations if g.done]
            pending[owner] = [g for g in generations if not g.done]
    assert order.index("calm") <= 3
    assert [owner for owner in order[:10] if owner != "busy"].count("other") == 2
    assert len(order) == 24


def test_memory_bounds_what_runs_and_nobody_is_overtaken() -> None:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=300), start=False)
    large = [engine.submit(request(seed=i, new=195)) for i in range(2)]  # 200 tokens each
    small = engine.submit(request(new=10, owner="same"))
    engine.step()
    assert (large[0].completion_tokens, large[1].completion_tokens) == (1, 0)
    finish(engine)
    assert all(generation.done for generation in [*large, small])


def test_a_long_prompt_lets_the_others_go_on() -> None:
    config = EngineConfig(kv_cache_tokens=2048, prefill_tokens_shared=32)
    engine = tiny_engine(config, start=False)
    running = engine.submit(request(new=100))
    engine.step()
    long = engine.submit(request("y" * 200, new=3))
    steps = 0
    while not long.completion_tokens:
        engine.step()
        steps += 1
    assert steps == 7  # 32 tokens of the prompt a step
    assert running.completion_tokens == 1 + steps
    finish(engine)
    assert long.result().text == alone(request("y" * 200, new=3))


def alone(one: GenerationRequest) -> str:
    engine = tiny_engine(start=False)
    generation = engine.submit(one)
    finish(engine)
    return generation.result().text
