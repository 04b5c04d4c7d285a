"""What a request changes about the logits: biases, penalties, and tokens that must not come next."""

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from inference.engine.penalties import Penalties
from inference.engine.request import SamplingParams
from inference.engine.sampler import Sampler
from inference.engine.top_k import Array

VOCABULARY = 500
PROMPT = [3, 17, 17, 499]
GENERATED = [0, 17, 42, 42, 42]


def logits() -> Array:
    scores = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(0)) * 4
    return scores.numpy()


def changed(**params: object) -> Array:
    penalties = Penalties(SamplingParams(**params), prompt_tokens=len(PROMPT))  # type: ignore[arg-type]
    return penalties.apply(logits(), PROMPT + GENERATED)


@pytest.mark.parametrize(("presence", "frequency"), [(0.0, 1.5), (2.0, 0.0), (-1.0, 0.25)])
def test_presence_and_frequency_are_openais_formula_over_generated_tokens(
    presence: float, frequency: float
) -> None:
    expected = logits()
    for token_id in set(GENERATED):
        expected[token_id] -= GENERATED.count(token_id) * frequency + presence
    np.testing.assert_allclose(
        changed(presence_penalty=presence, frequency_penalty=frequency), expected, rtol=1e-6
    )


def test_before_a_token_is_generated_they_change_nothing() -> None:
    penalties = Penalties(SamplingParams(presence_penalty=2.0), prompt_tokens=len(PROMPT))
    scores = logits()
    assert penalties.apply(scores, PROMPT) is scores


def test_bias_repetition_penalty_and_forbidden_tokens_are_those_of_transformers() -> None:
    bias = ((7, 5.0), (17, -100.0), (42, 0.5))
    stock = LogitsProcessorList(
        [
            SequenceBiasLogitsProcessor([[[token_id], value] for token_id, value in bias]),
            RepetitionPenaltyLogitsProcessor(1.3),
            MinNewTokensLengthLogitsProcessor(len(PROMPT), 10, [1, 2], device="cpu"),
        ]
    )
    expected = stock(torch.LongTensor([PROMPT + GENERATED]), torch.tensor(logits())[None])[0].numpy()
    penalties = Penalties(SamplingParams(logit_bias=bias, repetition_penalty=1.3), prompt_tokens=len(PROMPT))
    ours = penalties.apply(logits(), PROMPT + GENERATED, forbidden={1, 2})
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_the_logits_given_are_never_modified() -> None:
    scores = logits()
    params = SamplingParams(
        logit_bias=((7, 5.0),), repetition_penalty=1.3, presence_penalty=1.0, frequency_penalty=1.0
    )
    for one in (params, SamplingParams(presence_penalty=1.0), SamplingParams(logit_bias=((7, 5.0),))):
        Penalties(one, prompt_tokens=4).apply(scores, PROMPT + GENERATED, forbidden={1})
    Penalties(SamplingParams(), prompt_tokens=4).apply(scores, PROMPT + GENERATED, forbidden={1})
    assert np.array_equal(scores, logits())


def test_a_great_bias_decides_greedy_and_drawn_tokens() -> None:
    for do_sample in (False, True):
        params = SamplingParams(do_sample=do_sample, logit_bias=((7, 100.0),))
        assert Sampler(params, prompt_tokens=0).choose(logits(), PROMPT) == 7


def test_a_forbidden_token_is_never_chosen() -> None:
    best = int(logits().argmax())
    for do_sample in (False, True):
        sampler = Sampler(SamplingParams(do_sample=do_sample, top_k=1), prompt_tokens=0)
        assert sampler.choose(logits(), PROMPT) == best
        assert sampler.choose(logits(), PROMPT, forbidden={best}) != best
