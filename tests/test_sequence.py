"""How a request ends, and what it is told of its prompt."""

from typing import Any

import numpy as np
import pytest
import torch

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed, UnknownToken
from inference.engine.generation import Generation
from inference.engine.request import GenerationRequest, SamplingParams
from tests.engine_requests import finish, request, submit
from tests.models import CONTEXT_LENGTH, SHAPES, byte_tokenizer, tiny_engine
from tests.test_scheduler import Counting, Letters

GREEDY = SamplingParams(do_sample=False)


def letters(*, eos: str = "") -> Engine:
    """An engine whose model continues the alphabet, `a` to `p`."""
    return Engine(Counting(), Letters(), EngineConfig(), eos_ids=[ord(letter) - ord("a") for letter in eos])


def ended(engine: Engine, **fields: Any) -> tuple[str, str, int]:
    asked = {"prompt": "ab", "sampling": GREEDY, "max_new_tokens": 8, **fields}
    generation = submit(engine, GenerationRequest(**asked))
    finish(engine)
    completion = generation.result()
    return completion.text, completion.finish_reason, completion.completion_tokens


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("cd", "stop", 3)),
        ({"ignore_eos": True}, ("cdefghij", "length", 8)),
        ({"ignore_eos": True, "stop_token_ids": (6,)}, ("cdef", "stop", 5)),
        ({"stop_token_ids": (3, 15)}, ("c", "stop", 2)),
        ({"ignore_eos": True, "stop": ("ef",)}, ("cd", "stop", 4)),
    ],
)
def test_a_text_ends_at_the_models_end_tokens_and_those_of_the_request(
    fields: dict[str, Any], expected: tuple[str, str, int]
) -> None:
    assert ended(letters(eos="e"), **fields) == expected


def test_before_min_tokens_no_end_token_is_chosen() -> None:
    # After "d", "e" has the highest logit; forbidden, the lowest of the equal others comes, "a".
    assert ended(letters(eos="e"), min_tokens=3) == ("cdabcd", "stop", 7)
    assert ended(letters(eos="e"), min_tokens=2) == ("cd", "stop", 3)
    assert ended(letters(), min_tokens=3, stop_token_ids=(4,)) == ("cdabcd", "stop", 7)


@pytest.mark.parametrize(
    ("min_tokens", "expected"),
    [
        (1, ("cd", "stop", 4)),
        (2, ("cd", "stop", 4)),
        (3, ("cdefghij", "length", 8)),
        (4, ("cdefghij", "length", 8)),
    ],
)
def test_the_text_of_the_first_min_tokens_is_not_searched_for_stop_strings(
    min_tokens: int, expected: tuple[str, str, int]
) -> None:
    assert ended(letters(), min_tokens=min_tokens, stop=("ef",)) == expected


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("stop_token_ids", {"stop_token_ids": (3, 16)}),
        ("stop_token_ids", {"stop_token_ids": (-1,)}),
        ("logit_bias", {"sampling": SamplingParams(logit_bias=((16, 1.0),))}),
    ],
)
def test_a_token_that_the_model_does_not_have_is_refused_with_its_field(
    field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(
        UnknownToken, match=rf"^{field} names token (16|-1), and this model .* 0 to 15\.$"
    ) as refused:
        ended(letters(), **fields)
    assert refused.value.field == field


def test_a_request_for_no_tokens_ends_after_its_prompt() -> None:
    generation = submit(
        engine := letters(), GenerationRequest(prompt="ab", sampling=GREEDY, max_new_tokens=0)
    )
    finish(engine)
    completion = generation.result()
    assert (completion.text, completion.finish_reason, completion.completion_tokens) == ("", "length", 0)
    [event] = generation.events_from(0)
    assert (event.text, event.token_ids, event.finish_reason) == ("", (), "length")
    assert generation.first_token_s is None
    assert engine.load.kv_tokens_used == 0


def stock_logprobs(shape: str, token_ids: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        logits = SHAPES[shape]()(input_ids=torch.tensor([token_ids])).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def assert_scored(shape: str, prompt: str, generation: Generation, *, top: int) -> None:
    token_ids = tuple(byte_tokenizer()(prompt)["input_ids"])
    scored = generation.result().prompt_logprobs
    theirs = stock_logprobs(shape, token_ids)
    assert scored[0] is None
    assert [one.token_id for one in scored[1:] if one is not None] == list(token_ids[1:])
    for one, row, token_id in zip(scored[1:], theirs[:-1], token_ids[1:], strict=True):
        assert one is not None
        assert one.logprob == pytest.approx(float(row[token_id]), abs=1e-4)
        assert [other.logprob for other in one.top] == pytest.approx(row.topk(top).values.tolist(), abs=1e-4)
        assert one.greedy == (int(row.argmax()) == token_id)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("new", [0, 3])
@pytest.mark.parametrize("length", [1, 2, 16, 17, 64, 65, CONTEXT_LENGTH - 3])
def test_the_tokens_of_a_prompt_have_the_models_own_log_probabilities(
    shape: str, new: int, length: int
) -> None:
    engine = tiny_engine(shape=shape, start=False)
    prompt = ("Grüße, 世界! The quick brown fox. " * 9).encode()[:length].decode(errors="ignore").ljust(1)
    generation = submit(engine, request(prompt, new=new, prompt_logprobs=4, logprobs=2))
    finish(engine)
    assert_scored(shape, prompt, generation, top=4)
    [first, *others] = generation.events_from(0)
    assert first.prompt_logprobs == generation.result().prompt_logprobs
    assert not any(event.prompt_logprobs for event in others)
    assert len(generation.result().logprobs) == new


def test_scored_prompts_beside_others_are_the_same_to_the_last_bit() -> None:
    config = EngineConfig(kv_cache_tokens=4096, prefill_tokens_shared=32)
    prompts = [letter * 20 + "The quick brown fox. " * 8 for letter in "abcd"]
    alone = [scored(tiny_engine(config, start=False), [prompt])[0] for prompt in prompts]
    engine = tiny_engine(config, start=False)
    submit(engine, request(new=100))
    engine.step()
    assert scored(engine, prompts) == alone


def scored(engine: Engine, prompts: list[str]) -> list[object]:
    generations = [submit(engine, request(prompt, new=1, prompt_logprobs=2)) for prompt in prompts]
    finish(engine)
    return [generation.result().prompt_logprobs for generation in generations]


def test_asking_for_them_changes_no_text_and_who_does_not_ask_gets_none() -> None:
    engine = tiny_engine(start=False)
    prompt = "x" * 100
    asked, plain = submit(engine, request(prompt, prompt_logprobs=0)), submit(engine, request(prompt))
    finish(engine)
    assert asked.result().text == plain.result().text
    assert (len(asked.result().prompt_logprobs), plain.result().prompt_logprobs) == (100, ())


def test_the_rows_of_logits_of_a_step_are_bounded() -> None:
    engine = Engine(model := Counting(), Letters(), EngineConfig(max_running=4))
    model.blocks = type(model.blocks)(64)
    for _ in range(3):
        asked = GenerationRequest(prompt="ab" * 30, sampling=GREEDY, max_new_tokens=1, prompt_logprobs=0)
        engine.submit(engine.prepare(asked))
    finish(engine)
    rows = [sum(segment.logits for segment in step) for step in model.steps]
    assert sum(rows) == 180
    assert max(rows) <= 64 + 15


def test_a_scored_prompt_with_numbers_that_are_not_finite_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(model := Counting(), Letters(), EngineConfig(max_running=4))
    honest = Counting.forward

    def forward(self: Counting, segments: list[Any]) -> Any:
        logits = honest(self, segments)
        logits[0] = np.nan
        return logits

    monkeypatch.setattr(Counting, "forward", forward)
    bad = submit(
        engine, GenerationRequest(prompt="abc", sampling=GREEDY, max_new_tokens=1, prompt_logprobs=0)
    )
    good = submit(engine, GenerationRequest(prompt="abc", sampling=GREEDY, max_new_tokens=1))
    assert model.steps == []
    finish(engine)
    assert good.result().text == "d"
    with pytest.raises(GenerationFailed):
        bad.result()
