"""The engine on tiny models: the texts are right, and no request can harm another."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    PromptTooLong,
)
from inference.engine.generation import Event, merged_events
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.tokenizer import HuggingFaceTokenizer
from tests.engine_requests import alone, finish, full_engine, request, stepped_engine, submit
from tests.models import CONTEXT_LENGTH, SHAPES, byte_tokenizer, tiny_engine

GREEDY = SamplingParams(do_sample=False)
PROMPTS = ("a", "Grüße, 世界", "x" * 32, "The quick brown fox jumps over the lazy dog. " * 3)


@pytest.fixture(params=SHAPES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = tiny_engine(shape=request.param)
    yield engine
    engine.stop()


@pytest.fixture
def stepped() -> Engine:
    return stepped_engine()


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_text_is_that_of_generate(shape: str) -> None:
    engine, stock = tiny_engine(shape=shape), SHAPES[shape]()
    tokenizer = HuggingFaceTokenizer(byte_tokenizer(), rows=257)
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt)
        ours = submit(engine, GenerationRequest(prompt=prompt, sampling=GREEDY, max_new_tokens=60)).result()
        theirs = generate(stock, ids, max_new_tokens=60)
        assert tokenizer.decode(ids) + ours.text == tokenizer.decode(theirs)
    engine.stop()


def test_greedy_text_of_the_quick_start_model_is_that_of_generate(
    quickstart_model: Path, quickstart_engine: Engine
) -> None:
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    tokenizer = HuggingFaceTokenizer(AutoTokenizer.from_pretrained(quickstart_model), rows=stock.vocab_size)
    stops = set()
    for prompt in (
        "The capital of France is",
        "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n",
    ):
        ids = tokenizer.encode(prompt)
        asked = GenerationRequest(prompt=prompt, sampling=GREEDY, max_new_tokens=30)
        ours = submit(quickstart_engine, asked).result()
        theirs = generate(stock, ids, max_new_tokens=30, eos_token_id=stock.generation_config.eos_token_id)
        assert tokenizer.decode(ids) + ours.text == tokenizer.decode(theirs)
        assert ours.completion_tokens == len(theirs) - len(ids)
        stops.add(ours.finish_reason)
    assert "stop" in stops


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
    together = [generation.result().text for generation in [submit(engine, one) for one in requests]]
    alone = [submit(engine, one).result().text for one in requests]
    assert together == alone


def test_text_comes_in_pieces_that_are_the_whole(engine: Engine) -> None:
    generation = submit(engine, request(new=40))
    events = [event for event in generation.events() if event is not None]
    assert len(events) > 1
    assert "".join(event.text for event in events) == generation.result().text
    assert [event.finish_reason for event in events] == [None] * (len(events) - 1) + ["length"]
    assert sum(len(event.token_ids) for event in events) == generation.result().completion_tokens == 40
    assert list(generation.events()) == events  # read again, they are there at once


def test_an_engine_tells_the_tokens_of_a_text_and_the_text_of_tokens(stepped: Engine) -> None:
    prompt = "Grüße, 世界! " * 100  # longer than the context: nothing is generated
    token_ids = stepped.encode(prompt)
    assert len(token_ids) > stepped.context_length
    assert not any(map(stepped.is_special, token_ids))
    assert stepped.is_special(256)
    assert b"".join(map(stepped.token_bytes, token_ids)) == prompt.encode()


def test_waiting_for_events_has_a_time_limit(stepped: Engine) -> None:
    generation = submit(stepped, request(new=2))
    events = generation.events(timeout_s=0.01)
    assert next(events) is None
    stepped.step()
    assert isinstance(next(events), Event)
    assert next(events) is None
    stepped.step()
    assert [event.finish_reason for event in events if event is not None] == ["length"]


def test_events_of_several_requests_come_in_one_stream_and_a_failure_follows_its_events(
    stepped: Engine,
) -> None:
    generations = [submit(stepped, request(new=3, seed=seed)) for seed in range(2)]
    stepped.step()
    generations[1].cancel()
    finish(stepped)
    seen: list[tuple[int, Event]] = []

    def collect(items: Iterator[tuple[int, Event] | None]) -> None:
        for item in items:
            assert item is not None
            seen.append(item)

    with pytest.raises(Cancelled):
        collect(merged_events(generations))
    assert [event for index, event in seen if index == 0] == list(generations[0].events())
    assert len([event for index, event in seen if index == 1]) == 1


def test_it_ends_at_max_new_tokens_at_an_end_token_or_at_a_stop_string() -> None:
    engine = tiny_engine()
    whole = submit(engine, request(new=30)).result()
    assert (whole.finish_reason, whole.completion_tokens, whole.prompt_tokens) == ("length", 30, 5)
    middle = whole.text[8:10]
    stopped = submit(engine, request(new=30, stop=("never", middle))).result()
    assert (stopped.text, stopped.finish_reason) == (whole.text[: whole.text.index(middle)], "stop")
    assert stopped.completion_tokens < 30
    engine.stop()

    end = next(i for i, letter in enumerate(whole.text) if letter.isascii() and i > 2)
    ending = tiny_engine(eos_ids=(byte_tokenizer()(whole.text[end])["input_ids"][0],))
    ended = submit(ending, request(new=30)).result()
    assert ended.finish_reason == "stop"
    assert ended.text == whole.text[: whole.text.index(whole.text[end])]
    ending.stop()


@pytest.mark.parametrize("new", [0 + 1, CONTEXT_LENGTH - 5])
def test_a_prompt_that_just_fits_is_generated(engine: Engine, new: int) -> None:
    assert submit(engine, request(new=new)).result().completion_tokens == new


def test_what_can_never_be_generated_is_refused_at_once(stepped: Engine) -> None:
    with pytest.raises(PromptTooLong, match=r"5 tokens .* 252 more: .* 257 in total, .* 256 fit"):
        submit(stepped, request(new=CONTEXT_LENGTH - 4))
    with pytest.raises(EmptyPrompt):
        submit(stepped, request(""))
    small = tiny_engine(EngineConfig(kv_cache_tokens=100), start=False)
    with pytest.raises(PromptTooLong, match="at most 112 fit"):
        submit(small, request(new=112))


def test_a_cancelled_request_ends_and_its_place_is_free(stepped: Engine) -> None:
    expected = alone(request("other"))
    generation, other = (
        submit(stepped, request(new=200)),
        submit(stepped, request("other")),
    )
    for _ in range(5):
        stepped.step()
    generation.cancel()
    finish(stepped)
    with pytest.raises(Cancelled):
        generation.result()
    assert generation.completion_tokens == 5
    assert other.result().text == expected
    assert stepped.load.kv_tokens_used == 0


def test_a_cancelled_request_that_waits_never_runs() -> None:
    engine, running = full_engine()
    waiting = submit(engine, request())
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
    late = submit(engine, request(new=200, timeout_s=10))
    other = submit(engine, request("other", timeout_s=1000))
    waits = submit(engine, request(timeout_s=10))
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
    first, second = (
        submit(engine, request(new=1)),
        submit(engine, request(new=2)),
    )
    for _ in range(3):
        now[0] += 2.0
        engine.step()
    assert (first.queued_s, first.first_token_s, first.generated_s) == (2.0, 2.0, 0.0)
    assert (second.queued_s, second.first_token_s, second.generated_s) == (4.0, 4.0, 2.0)
