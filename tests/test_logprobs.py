"""Log-probabilities of new tokens and of prompts, compared with those of the model's own code."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed
from inference.engine.logprobs import TokenLogprob, TokenLogprobs
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.scoring import token_logprobs
from inference.engine.top_k import Array
from tests.engine_requests import request, submit
from tests.models import SHAPES, tiny_engine

GREEDY = SamplingParams(do_sample=False)
DISTORTED = SamplingParams(temperature=1.7, top_k=5, top_p=0.8, repetition_penalty=1.4, seed=3)
PROMPT = "The quick brown fox jumps over the lazy dog. " * 3


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(shape: str) -> Iterator[Engine]:
    engine = tiny_engine(shape=shape)
    yield engine
    engine.stop()


def stock_logprobs(shape: str, token_ids: tuple[int, ...]) -> torch.Tensor:
    """The model's own, `[len(token_ids), vocabulary]`: row i is of the token after token i."""
    with torch.inference_mode():
        logits = SHAPES[shape]()(input_ids=torch.tensor([token_ids])).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def assert_equal(ours: TokenLogprobs, theirs: torch.Tensor, token_id: int, top: int) -> None:
    assert ours.token_id == token_id
    assert ours.logprob == pytest.approx(float(theirs[token_id]), abs=1e-4)
    assert [one.logprob for one in ours.top] == pytest.approx(theirs.topk(top).values.tolist(), abs=1e-4)
    for one in ours.top:
        assert one.logprob == pytest.approx(float(theirs[one.token_id]), abs=1e-4)
    assert ours.greedy == (ours.logprob == ours.top[0].logprob)


@pytest.mark.parametrize(
    "sampling", [GREEDY, SamplingParams(seed=1), DISTORTED], ids=["greedy", "drawn", "bent"]
)
def test_new_tokens_have_the_models_own_whatever_they_were_chosen_by(
    engine: Engine, shape: str, sampling: SamplingParams
) -> None:
    asked = request(PROMPT, new=30, sampling=sampling, logprobs=20)
    prepared = engine.prepare(asked)
    completion = engine.submit(prepared).result()
    whole = prepared.prompt_ids + completion.token_ids
    theirs = stock_logprobs(shape, whole)[len(prepared.prompt_ids) - 1 :]
    assert len(completion.logprobs) == completion.completion_tokens == 30
    for ours, row, token_id in zip(completion.logprobs, theirs, completion.token_ids, strict=False):
        assert_equal(ours, row, token_id, 20)
    if sampling is GREEDY:
        assert all(ours.greedy for ours in completion.logprobs)
    else:
        assert not all(ours.greedy for ours in completion.logprobs)


def test_they_come_with_the_tokens_and_the_completion_has_all(engine: Engine) -> None:
    generation = submit(engine, request(new=10, logprobs=0))
    events = [event for event in generation.events() if event is not None]
    for event in events:
        assert tuple(one.token_id for one in event.logprobs) == event.token_ids
    completion = generation.result()
    assert [one for event in events for one in event.logprobs] == list(completion.logprobs)
    assert completion.token_ids == tuple(i for event in events for i in event.token_ids)
    assert {one.top for one in completion.logprobs} == {()}


def test_asking_for_them_does_not_change_the_text_and_who_does_not_ask_gets_none(engine: Engine) -> None:
    without = submit(engine, request(new=30)).result()
    having = submit(engine, request(new=30, logprobs=5)).result()
    assert having.text == without.text
    assert (len(having.logprobs), without.logprobs) == (30, ())


def test_the_chosen_token_is_the_same_to_the_last_bit_among_the_alternatives(engine: Engine) -> None:
    completion = submit(engine, request(new=20, sampling=GREEDY, logprobs=3)).result()
    for one in completion.logprobs:
        assert one.top[0] == TokenLogprob(one.token_id, one.token, one.logprob)
    shown = b"".join(one.token for one in completion.logprobs if one.token_id < 256)
    assert shown.decode(errors="replace") == completion.text


def rows(*logits: list[float]) -> Array:
    return np.array(logits, dtype=np.float32)


def test_of_equally_likely_tokens_the_one_with_the_lowest_id_is_greedy() -> None:
    tied = rows([1.0, 3.0, 3.0, -9.0])
    first, second = (token_logprobs(tied, [i], top=3, token_bytes=lambda i: b"%d" % i)[0] for i in (1, 2))
    assert (first.greedy, second.greedy) == (True, False)
    assert first.logprob == second.logprob == first.top[0].logprob
    assert [one.token_id for one in first.top] == [1, 2, 0]
    assert [one.token for one in first.top] == [b"1", b"2", b"0"]


def test_an_improbable_token_has_a_finite_number_and_one_that_the_model_excludes_minus_infinity() -> None:
    far = rows([0.0, -3000.0, float("-inf")])
    values = [token_logprobs(far, [i], top=0, token_bytes=lambda _: b"")[0].logprob for i in range(3)]
    assert values == [0.0, -3000.0, float("-inf")]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_fail(number: float) -> None:
    with pytest.raises(GenerationFailed):
        token_logprobs(rows([0.0, number]), [0], top=1, token_bytes=lambda _: b"")


@pytest.mark.parametrize(
    ("token", "text"), [(b" Hello", " Hello"), ("é".encode(), "é"), (b"\xf0\x9f", r"bytes:\xf0\x9f")]
)
def test_a_token_is_written_as_a_string_as_openai_does(token: bytes, text: str) -> None:
    assert TokenLogprob(0, token, -1.0).text == text


def test_the_quick_start_models_are_those_of_transformers(
    quickstart_model: Path, quickstart_engine: Engine
) -> None:
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    asked = GenerationRequest(
        prompt=PROMPT, sampling=GREEDY, max_new_tokens=20, logprobs=20, prompt_logprobs=20, ignore_eos=True
    )
    prepared = quickstart_engine.prepare(asked)
    completion = quickstart_engine.submit(prepared).result()
    token_ids = prepared.prompt_ids + completion.token_ids
    with torch.inference_mode():
        theirs = torch.log_softmax(stock(input_ids=torch.tensor([token_ids])).logits[0], dim=-1)
    scored = [*completion.prompt_logprobs[1:], *completion.logprobs]
    for ours, row, token_id in zip(scored, theirs[:-1], token_ids[1:], strict=True):
        assert ours is not None
        assert_equal(ours, row, token_id, 20)
