"""A KV cache that is too small for all: sequences give their blocks up, and nobody sees it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.blocks import BLOCK, BlockPool
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import Cancelled, Overloaded
from inference.engine.generation import Completion, Generation
from inference.engine.request import GenerationRequest, SamplingParams
from tests.examples import examples
from tests.test_scheduler import Counting, Letters, engine, run, submit


def small(*, blocks: int, **config: Any) -> tuple[Counting, Engine]:
    model = Counting()
    model.blocks = BlockPool(blocks)
    return model, engine(model, **config)


def test_requests_that_may_become_long_run_together_as_long_as_they_are_short() -> None:
    model, shared = small(blocks=4)
    for _ in range(4):
        submit(shared, "ab", new=50)
    shared.step()
    assert [len(segments) for segments in model.steps] == [2]
    model, shared = small(blocks=8)
    for _ in range(4):
        submit(shared, "ab", new=50)
    shared.step()
    assert [len(segments) for segments in model.steps] == [4]


def test_the_newest_of_the_owner_with_the_most_running_gives_its_blocks_up() -> None:
    _, shared = small(blocks=6)
    first = submit(shared, "ab", new=40, owner="one")
    second = submit(shared, "ab", new=40, owner="one")
    other = submit(shared, "ab", new=40, owner="two")
    run(shared)
    assert shared.work.preemptions > 0
    ended = [generation.ended_at or 0 for generation in (first, other, second)]
    assert ended == sorted(ended)
    assert len({generation.result().text for generation in (first, second, other)}) == 1


def test_one_that_was_preempted_waits_and_can_be_cancelled_but_is_never_dropped_from_the_queue() -> None:
    _, shared = small(blocks=4, max_queued=0, max_running=2)
    first, second = (submit(shared, "ab", new=60, owner="one") for _ in range(2))
    while not shared.work.preemptions:
        shared.step()
    assert (shared.load.queued, shared.load.preempted, shared.load.owners["one"].queued) == (1, 1, 1)
    # It ran already, so it does not take the place of a new one, and a new one cannot replace it.
    third = submit(shared, "ab", new=1, owner="two")
    with pytest.raises(Overloaded):
        submit(shared, "ab", new=1, owner="three")
    second.cancel()
    run(shared)
    assert first.result().completion_tokens == 60
    assert third.result().completion_tokens == 1
    with pytest.raises(Cancelled):
        second.result()
    assert shared.load.kv_tokens_used == 0


REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 40),  # prompt
        st.integers(1, 60),  # new tokens
        st.sampled_from(["one", "two", "three"]),
        st.integers(0, 12),  # steps before the next one comes
        st.booleans(),  # cancelled after these steps
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(100), deadline=None)
@given(
    blocks=st.integers(4, 12),
    max_running=st.integers(1, 6),
    prefill_tokens=st.integers(1, 40),
    requests=REQUESTS,
)
def test_every_request_ends_with_its_text_and_no_block_is_lost(
    blocks: int, max_running: int, prefill_tokens: int, requests: list[tuple[int, int, str, int, bool]]
) -> None:
    _, shared = small(
        blocks=blocks,
        max_running=max_running,
        prefill_tokens=prefill_tokens,
        prefill_tokens_shared=prefill_tokens,
        max_queued=100,
    )
    generations: list[tuple[Generation, int, bool]] = []
    for prompt, new, owner, steps, cancelled in requests:
        new = min(new, blocks * BLOCK - prompt, Counting.context_length - prompt)
        generations.append(
            (submit(shared, "a" * prompt, new=max(1, new), owner=owner), max(1, new), cancelled)
        )
        for _ in range(steps):
            shared.step()
        if cancelled:
            generations[-1][0].cancel()
    bound = 2000
    while shared.step():
        bound -= 1
        assert bound, "it goes on for ever"
    for generation, new, cancelled in generations:
        outcome = generation.outcome
        if cancelled and not isinstance(outcome, Completion):
            assert isinstance(outcome, Cancelled)
        else:
            assert isinstance(outcome, Completion)
            assert outcome.text == "".join(chr(ord("a") + (1 + i) % 16) for i in range(new))
    assert (shared.load.kv_tokens_used, shared.load.queued, shared.load.running) == (0, 0, 0)


def test_a_prompt_is_scored_once_however_often_its_request_is_preempted() -> None:
    request = GenerationRequest(
        prompt="abc",
        sampling=SamplingParams(do_sample=False),
        max_new_tokens=40,
        prompt_logprobs=0,
        logprobs=0,
    )
    alone = Engine(Counting(), Letters(), EngineConfig(speculation="off"))
    expected = alone.submit(alone.prepare(request))
    run(alone)
    _, shared = small(blocks=4)
    generations = [shared.submit(shared.prepare(replace(request, owner=owner))) for owner in ("one", "two")]
    run(shared)
    assert shared.work.preemptions > 0
    for generation in generations:
        assert generation.result() == expected.result()


def test_sampled_texts_with_penalties_are_the_same(tiny_texts: Any) -> None:
    roomy, tight, preemptions = tiny_texts
    assert roomy == tight
    assert preemptions > 0


@pytest.fixture(scope="module")
def tiny_texts() -> tuple[list[Completion], list[Completion], int]:
    """The same requests of a real model with much memory and with little, and how many were preempted."""
    from tests.models import tiny_engine

    def texts(kv_cache_tokens: int) -> tuple[list[Completion], int]:
        shared = tiny_engine(EngineConfig(kv_cache_tokens=kv_cache_tokens, threads=1), start=False)
        rng = np.random.default_rng(0)
        generations = [
            shared.submit(
                shared.prepare(
                    GenerationRequest(
                        prompt=tuple(int(token) for token in rng.integers(3, 60, 20)),
                        sampling=SamplingParams(
                            seed=seed, temperature=1.0, repetition_penalty=1.1, presence_penalty=0.3
                        ),
                        max_new_tokens=40,
                        ignore_eos=True,
                        logprobs=2,
                        owner=str(seed % 3),
                    )
                )
            )
            for seed in range(6)
        ]
        while shared.step():
            pass
        return [generation.result() for generation in generations], shared.work.preemptions

    (roomy, none), (tight, some) = texts(4096), texts(10 * BLOCK)
    assert none == 0
    return roomy, tight, some
