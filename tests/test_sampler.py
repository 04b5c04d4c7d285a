"""The sampler, compared with transformers' own logits processors."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference.engine.errors import GenerationFailed
from inference.engine.native import kernels as native
from inference.engine.penalties import Penalties
from inference.engine.request import SamplingParams
from inference.engine.sampler import Draw, Sampler, distribution, draw
from inference.engine.token_set import TokenSet
from inference.engine.top_k import Array
from tests.examples import examples

VOCABULARY = 5000
HISTORY = [3, 17, 17, 499, 0, 42]
PARAMETERS = [
    SamplingParams(),
    SamplingParams(temperature=0.1, top_k=0),
    SamplingParams(temperature=2.0, top_k=0),
    SamplingParams(temperature=1.0, top_k=1),
    SamplingParams(top_k=7, top_p=0.8),
    SamplingParams(top_k=0, top_p=0.01),
    SamplingParams(top_k=0, top_p=0.95, repetition_penalty=1.3),
    SamplingParams(top_k=100_000, top_p=0.5, repetition_penalty=0.7),
    SamplingParams(temperature=2.0, top_k=0, min_p=0.05),
    SamplingParams(temperature=1.5, top_k=50, top_p=0.9, min_p=0.2),
    SamplingParams(top_k=0, min_p=1.0),
]


@pytest.fixture(params=["numpy", "native"])
def drawing(request: pytest.FixtureRequest) -> Draw:
    """The draws: that of NumPy, and that of the native kernels."""
    if request.param == "numpy":
        return draw
    kernels = native.load()
    if kernels is None:
        pytest.skip("the native kernels were not built")
    return kernels.draw


def logits(*, seed: int = 0, ties: bool = False) -> Array:
    scores = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 4
    scores[-7:] += 6  # the last ones do not fill a group of the top-k search
    return (scores.round() if ties else scores).numpy()


def expected(scores: Array, params: SamplingParams) -> torch.Tensor:
    """The distribution over the whole vocabulary that the library's processors give."""
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(params.repetition_penalty)])
    processors.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        processors.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        processors.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0.0:
        processors.append(MinPLogitsWarper(params.min_p))
    processed: torch.Tensor = processors(torch.LongTensor([HISTORY]), torch.tensor(scores)[None])
    return processed[0].softmax(0)


@pytest.mark.parametrize("params", PARAMETERS, ids=str)
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_the_distribution_matches_transformers(params: SamplingParams, *, ties: bool) -> None:
    for seed in range(5):
        scores = logits(seed=seed, ties=ties)
        penalised = Penalties(params, prompt_tokens=0).apply(scores, HISTORY)
        candidates = distribution(penalised, params)
        ours = torch.zeros(VOCABULARY)
        ours[candidates.tokens] = torch.from_numpy(candidates.probabilities).float()
        theirs = expected(scores, params)
        if ties and params.top_p < 1.0:  # it is not specified which of the equal tokens is dropped
            ours, theirs = ours.sort().values, theirs.sort().values
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("params", PARAMETERS, ids=str)
def test_draws_follow_the_distribution(params: SamplingParams, drawing: Draw) -> None:
    draws = 2000
    scores = logits()
    sampler = Sampler(params, prompt_tokens=0, draw=drawing)
    counts = Counter(sampler.choose(scores, HISTORY) for _ in range(draws))
    wanted = expected(scores, params)
    for token in set(counts) | set(wanted.topk(5).indices.tolist()):
        share = float(wanted[token])
        deviation = (draws * share * (1 - share)) ** 0.5
        assert abs(counts[token] - draws * share) <= 5 * deviation + 3, token


LOGITS = st.one_of(
    st.floats(-30, 30, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -np.inf, -1e30]),  # ties, what is forbidden, what is out of reach
)


@settings(max_examples=examples(100))
@given(
    st.lists(LOGITS, min_size=1, max_size=200),
    st.integers(0, 2**32),
    st.builds(
        SamplingParams,
        temperature=st.floats(0.01, 5),
        top_k=st.one_of(st.just(0), st.integers(1, 250)),
        top_p=st.one_of(st.just(1.0), st.floats(0.001, 1.0)),
        min_p=st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
    ),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 40),
)
def test_the_native_draw_is_numpy_s(
    some: list[float], seed: int, params: SamplingParams, number: float, repeated: int
) -> None:
    """Where rounding decides, a draw may be its neighbour, which is then within a millionth of the number."""
    kernels = native.load()
    if kernels is None:
        pytest.skip("the native kernels were not built")
    scores = np.tile(np.array(some, dtype=np.float32), repeated)
    np.random.default_rng(seed).shuffle(scores)
    scores[seed % len(scores)] = 3.0  # at least one is finite
    index = kernels.draw(scores, params, number)
    near = {draw(scores, params, min(max(number + shift, 0.0), 1 - 1e-16)) for shift in (-1e-6, 0.0, 1e-6)}
    loose = replace(params, top_p=min(1.0, params.top_p + 1e-6), min_p=max(0.0, params.min_p - 1e-6))
    tight = replace(params, top_p=max(1e-9, params.top_p - 1e-6), min_p=min(1.0, params.min_p + 1e-6))
    near |= {draw(scores, other, number) for other in (loose, tight)}
    assert index in near


def test_draws_depend_only_on_the_seed(drawing: Draw) -> None:
    def drawn(seed: int) -> list[int]:
        sampler = Sampler(SamplingParams(seed=seed), prompt_tokens=0, draw=drawing)
        return [sampler.choose(logits(seed=i), HISTORY) for i in range(20)]

    first = drawn(7)
    drawn(8)
    torch.manual_seed(1)
    assert drawn(7) == first
    assert drawn(8) != first


def test_a_seed_gives_the_same_draws_in_every_version(drawing: Draw) -> None:
    sampler = Sampler(SamplingParams(top_k=0, seed=2**63 - 1), prompt_tokens=0, draw=drawing)
    flat = np.zeros(VOCABULARY, dtype=np.float32)
    assert [sampler.choose(flat, HISTORY) for _ in range(5)] == [1583, 3156, 4017, 2267, 2383]


def test_greedy_takes_the_most_likely_token_after_the_penalty() -> None:
    scores = np.zeros(VOCABULARY, dtype=np.float32)
    scores[17], scores[18] = 5.0, 4.0
    assert Sampler(SamplingParams(do_sample=False), prompt_tokens=0).choose(scores, HISTORY) == 17
    assert (
        Sampler(SamplingParams(do_sample=False, repetition_penalty=1.5), prompt_tokens=0).choose(
            scores, HISTORY
        )
        == 18
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [5, VOCABULARY - 1])
def test_logits_that_are_not_finite_fail(number: float, place: int, drawing: Draw) -> None:
    scores = logits()
    scores[place] = number
    with pytest.raises(GenerationFailed):
        Sampler(SamplingParams(), prompt_tokens=0, draw=drawing).choose(scores, HISTORY)


@pytest.mark.parametrize("limits", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.5}], ids=str)
def test_the_lowest_temperatures_draw_one_of_the_highest_logits(
    limits: dict[str, Any], drawing: Draw
) -> None:
    params = SamplingParams(temperature=1e-40, **{"top_k": 0, **limits})
    scores = np.array([1.0, 7.0, 2.0, 7.0, 6.0], dtype=np.float32)
    assert [drawing(scores, params, number) for number in (0.0, 0.4, 0.6, 0.99)] == [1, 1, 3, 3]


def test_the_logits_are_not_modified(drawing: Draw) -> None:
    scores = logits()
    before = scores.copy()
    params = SamplingParams(repetition_penalty=1.5, top_p=0.5)
    Sampler(params, prompt_tokens=0, draw=drawing).choose(scores, HISTORY)
    assert np.array_equal(scores, before)


@pytest.mark.parametrize("count", [1, 3, 40, 60, 99, 100])
@pytest.mark.parametrize("do_sample", [True, False])
def test_only_allowed_tokens_are_chosen_however_many_there_are(
    count: int, do_sample: bool, drawing: Draw
) -> None:
    numbers = np.random.default_rng(count)
    for seed in range(30):
        logits = numbers.normal(0, 2, 100).astype(np.float32)
        kept = logits.copy()
        among = np.sort(numbers.permutation(100)[:count])
        allowed = TokenSet.of(among, vocabulary_size=100)
        params = SamplingParams(do_sample=do_sample, seed=seed, top_k=0, temperature=1.0)
        token = Sampler(params, prompt_tokens=0, draw=drawing).choose(logits, [], allowed=allowed)
        alone = Sampler(params, prompt_tokens=0, draw=drawing).choose(logits[among], [])
        assert token == among[alone]
        assert (logits == kept).all()


@settings(max_examples=examples(100))
@given(
    st.lists(LOGITS, min_size=70, max_size=200),
    st.data(),
    st.builds(
        SamplingParams,
        temperature=st.floats(0.1, 5),
        top_k=st.one_of(st.just(0), st.integers(1, 250)),
        top_p=st.one_of(st.just(1.0), st.floats(0.1, 1.0)),
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_the_native_draw_leaves_out_what_is_not_allowed(
    some: list[float], data: st.DataObject, params: SamplingParams, number: float
) -> None:
    """Of nearly all tokens, whatever the logits of the others are."""
    kernels = native.load()
    if kernels is None:
        pytest.skip("the native kernels were not built")
    scores = np.array(some, dtype=np.float32)
    left_out = data.draw(st.sets(st.integers(0, len(scores) - 1), max_size=30))
    allowed = TokenSet.of(set(range(len(scores))) - left_out, vocabulary_size=len(scores))
    scores[allowed.ids[0]] = 3.0  # at least one is finite
    index = kernels.draw(scores, params, number, allowed)
    assert index is None or index in allowed
    scores[list(left_out)] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e4]))
    assert kernels.draw(scores, params, number, allowed) == index
    shifts = (-1e-6, 0.0, 1e-6)
    near = {draw(scores, params, min(max(number + shift, 0.0), 1 - 1e-16), allowed) for shift in shifts}
    loose = replace(params, top_p=min(1.0, params.top_p + 1e-6))
    tight = replace(params, top_p=params.top_p - 1e-6)
    near |= {draw(scores, other, number, allowed) for other in (loose, tight)}
    # Between them are tokens of next to no probability.
    found = sorted(one for one in near if one is not None)
    assert index in near or (index is not None and found[0] < index < found[-1])


def test_rounding_never_draws_a_token_that_is_not_allowed(
    drawing: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(SamplingParams(top_k=0), prompt_tokens=0, draw=drawing)
    monkeypatch.setattr(sampler._random, "random", lambda: 1.0)
    allowed = TokenSet.of([0, 1, 2], vocabulary_size=4)
    assert sampler.choose(np.zeros(4, dtype=np.float32), [], allowed=allowed) == 2
