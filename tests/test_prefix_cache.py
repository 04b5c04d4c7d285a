"""The prefix cache: against a simple model of it, and in the engine's loop with a mock model."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from inference.engine.blocks import BLOCK, BlockPool, blocks_of
from inference.engine.config import PrefixSharing
from inference.engine.errors import Cancelled, GenerationFailed
from inference.engine.generation import Generation
from inference.engine.load import PrefixWork
from inference.engine.prefix_cache import PrefixCache
from inference.engine.request import GenerationRequest
from tests.examples import examples
from tests.test_scheduler import GREEDY, Counting, engine, run, submit

Prefix = tuple[str, tuple[int, ...]]
"""What a block may be found by: the owner, and all tokens up to its end."""


class Written:
    """A text of the cache's, whose tokens so far are computed one by one."""

    def __init__(self, owner: str, token_ids: list[int]) -> None:
        self.request = GenerationRequest(prompt="", sampling=GREEDY, owner=owner)
        self.token_ids = token_ids
        self.blocks: list[int] | None = None
        self.block_names: list[bytes] = []
        self.computed = 0

    @property
    def lasting(self) -> int:
        return len(self.token_ids) - 1

    @property
    def findable(self) -> int:
        return self.lasting

    def skip_to(self, tokens: int) -> None:
        assert self.computed < tokens < len(self.token_ids)
        self.computed = tokens

    def prefix(self, index: int) -> Prefix:
        return self.request.owner, tuple(self.token_ids[: (index + 1) * BLOCK])


class CacheMachine(RuleBasedStateMachine):
    """Texts that come, grow, share and go, against what each block was written with."""

    @initialize(blocks=st.integers(3, 14))
    def begin(self, blocks: int) -> None:
        self.pool = BlockPool(blocks)
        self.cache = PrefixCache(self.pool)
        self.texts: list[Written] = []
        self.content: dict[int, list[Prefix | int]] = {}
        """By block, what was written to each of its tokens: the prefix that it ends."""

    # Few tokens to choose from, so that many texts begin with the same blocks.
    @rule(
        owner=st.sampled_from(["one", "two"]),
        starts=st.lists(st.integers(0, 1), min_size=1, max_size=5),
        length=st.integers(1, BLOCK),
    )
    def admit(self, owner: str, starts: list[int], length: int) -> None:
        token_ids = [start for start in starts for _ in range(BLOCK)]
        text = Written(owner, token_ids[: len(token_ids) - BLOCK + length])
        free = self.cache.free
        in_use = {block for other in self.texts for block in other.blocks or ()}
        if not self.cache.admit(text, blocks_of(len(text.token_ids))):
            assert self.cache.free == free
            assert blocks_of(len(text.token_ids)) > free
            return
        assert text.blocks is not None
        assert len(set(text.blocks)) == len(text.blocks) == blocks_of(len(text.token_ids))
        # A block is written by one text alone.
        assert not in_use & set(text.blocks[text.computed // BLOCK :])
        self.texts.append(text)

    @rule(number=st.integers(0, 20), tokens=st.integers(1, 40))
    def compute(self, number: int, tokens: int) -> None:
        if not self.texts:
            return
        text = self.texts[number % len(self.texts)]
        assert text.blocks is not None
        self.cache.find_more(text)
        end = min(len(text.token_ids), text.computed + tokens)
        for place in range(text.computed, end):
            block = text.blocks[place // BLOCK]
            assert self.pool.users(block) == 1, "it writes what others read"
            written = self.content.setdefault(block, [0] * BLOCK)
            written[place % BLOCK] = (text.request.owner, tuple(text.token_ids[: place + 1]))
        text.computed = min(end, text.lasting)
        self.cache.keep(text)

    @rule(number=st.integers(0, 20), tokens=st.lists(st.integers(0, 1), min_size=1, max_size=BLOCK))
    def grow(self, number: int, tokens: list[int]) -> None:
        if not self.texts:
            return
        text = self.texts[number % len(self.texts)]
        assert text.blocks is not None
        missing = blocks_of(len(text.token_ids) + len(tokens)) - len(text.blocks)
        taken = self.cache.take(missing)
        if taken is not None:
            text.blocks += taken
            text.token_ids += tokens

    @rule(number=st.integers(0, 20))
    def release(self, number: int) -> None:
        if self.texts:
            text = self.texts.pop(number % len(self.texts))
            assert text.blocks is not None
            self.cache.release(text.blocks)

    @invariant()
    def every_text_has_what_it_computed(self) -> None:
        for text in self.texts:
            assert text.blocks is not None
            for place in range(text.computed):
                written = self.content[text.blocks[place // BLOCK]][place % BLOCK]
                assert written == (text.request.owner, tuple(text.token_ids[: place + 1]))

    @invariant()
    def no_block_is_lost(self) -> None:
        in_use = {block for text in self.texts for block in text.blocks or ()}
        assert self.cache.free == self.pool.count - len(in_use)
        assert self.cache.kept <= self.pool.count

    @invariant()
    def a_text_that_has_computed_a_block_shares_it_with_all_that_begin_alike(self) -> None:
        found: dict[Prefix, int] = {}
        for text in self.texts:
            assert text.blocks is not None
            for index in range(text.computed // BLOCK):
                assert found.setdefault(text.prefix(index), text.blocks[index]) == text.blocks[index]

    def teardown(self) -> None:
        if not hasattr(self, "cache"):
            return
        for text in self.texts:
            self.cache.release(text.blocks or [])
        assert sorted(self.cache.take(self.pool.count) or ()) == list(range(self.pool.count))
        assert self.cache.kept == 0


def test_the_cache_matches_the_model() -> None:
    run_state_machine_as_test(
        CacheMachine, settings=settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
    )


def cached(model: Counting | None = None, *, blocks: int = 40, **config: Any) -> tuple[Counting, Any]:
    model = model or Counting()
    model.blocks = BlockPool(blocks)
    return model, engine(model, **{"speculation": "off", **config})


def computed(model: Counting) -> int:
    return sum(len(segment.token_ids) for step in model.steps for segment in step)


def text_of(generation: Generation) -> str:
    return generation.result().text


PROMPT = "abcdefghijklmnop" * 2 + "abc"


def test_a_prompt_is_computed_once() -> None:
    model, shared = cached()
    first = submit(shared, PROMPT)
    run(shared)
    before = computed(model)
    second = submit(shared, PROMPT)
    run(shared)
    assert computed(model) - before == before - 2 * BLOCK
    assert text_of(first) == text_of(second)
    assert (first.cached_prompt_tokens, second.cached_prompt_tokens) == (0, 2 * BLOCK)
    assert second.computed_prompt_tokens == len(PROMPT)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    _, shared = cached()
    for expected in (0, BLOCK):
        generation = submit(shared, "a" * 2 * BLOCK)
        run(shared)
        assert generation.cached_prompt_tokens == expected
        assert text_of(generation) == "bcde"


def test_the_next_turn_of_a_chat_finds_the_answer_as_well() -> None:
    _, shared = cached()
    first = submit(shared, PROMPT, new=16)
    run(shared)
    turn = PROMPT + text_of(first)
    second = submit(shared, turn + "b", new=2)
    run(shared)
    assert second.cached_prompt_tokens == BLOCK * ((len(turn) - 1) // BLOCK) == 3 * BLOCK


@pytest.mark.parametrize(("sharing", "found"), [("per_key", 0), ("shared", 2 * BLOCK), ("off", 0)])
def test_another_owner_finds_a_prompt_only_where_all_share(sharing: PrefixSharing, found: int) -> None:
    _, shared = cached(prefix_cache=sharing)
    for owner, expected in (("one", 0), ("two", found), ("one", 0 if sharing == "off" else 2 * BLOCK)):
        generation = submit(shared, PROMPT, owner=owner)
        run(shared)
        assert generation.cached_prompt_tokens == expected


@pytest.mark.parametrize("prefill_tokens", [5, 16, 24, 512])
def test_requests_that_come_together_compute_and_hold_their_common_prefix_once(prefill_tokens: int) -> None:
    model, shared = cached(prefill_tokens=prefill_tokens, prefill_tokens_shared=prefill_tokens)
    generations = [submit(shared, PROMPT + letter, new=8) for letter in "bdfh"]
    while not all(generation.completion_tokens for generation in generations):
        shared.step()
    assert shared.load.kv_tokens_used == BLOCK * (2 + 4)
    run(shared)
    assert computed(model) == 2 * BLOCK + 4 * (len(PROMPT) + 1 - 2 * BLOCK) + 4 * 7
    assert [text_of(generation)[0] for generation in generations] == list("cegi")


def test_a_prompt_whose_logits_are_asked_for_is_computed_and_can_be_found() -> None:
    _, shared = cached()
    for prompt_logprobs, expected in ((0, 0), (0, 0), (None, 2 * BLOCK)):
        generation = submit(shared, PROMPT, prompt_logprobs=prompt_logprobs)
        run(shared)
        assert generation.cached_prompt_tokens == expected
        assert len(generation.result().prompt_logprobs) == (0 if prompt_logprobs is None else len(PROMPT))


def test_what_was_computed_before_a_cancellation_is_found_and_what_was_not_is_not() -> None:
    _, shared = cached(prefill_tokens=20)
    first = submit(shared, PROMPT)
    shared.step()
    first.cancel()
    run(shared)
    with pytest.raises(Cancelled):
        first.result()
    second = submit(shared, PROMPT)
    run(shared)
    assert second.cached_prompt_tokens == BLOCK


def test_a_step_that_failed_leaves_nothing_to_find() -> None:
    model, shared = cached()
    model.broken = True
    failed = submit(shared, "j" + PROMPT)
    run(shared)
    with pytest.raises(GenerationFailed):
        failed.result()
    model.broken = False
    again = submit(shared, "j" + PROMPT)
    run(shared)
    assert again.cached_prompt_tokens == 0
    assert shared.load.kv_tokens_used == 0


def test_what_was_used_least_recently_gives_way_the_end_of_a_text_first() -> None:
    _, shared = cached(blocks=8)
    for letter in "abc":  # two blocks of each are kept
        submit(shared, letter * (2 * BLOCK + 1), new=1)
        run(shared)
    again = submit(shared, "a" * (2 * BLOCK + 1), new=1)
    run(shared)
    assert again.cached_prompt_tokens == 2 * BLOCK
    submit(shared, "d" * (3 * BLOCK + 1), new=1)  # four blocks, and two are free
    run(shared)
    for letter, expected in (("a", 2 * BLOCK), ("c", 2 * BLOCK), ("b", 0)):
        generation = submit(shared, letter * (2 * BLOCK + 1), new=1)
        run(shared)
        assert generation.cached_prompt_tokens == expected
    assert shared.work.prefixes.evictions >= 2


def test_one_that_was_preempted_finds_what_is_left_of_it_and_the_client_is_told_nothing_new() -> None:
    _, shared = cached(blocks=6)
    generations = [submit(shared, letter * 2, new=60) for letter in "ab"]
    run(shared)
    assert shared.work.preemptions > 0
    assert [len(text_of(generation)) for generation in generations] == [60, 60]
    assert [generation.cached_prompt_tokens for generation in generations] == [0, 0]


def test_the_work_says_what_was_found() -> None:
    _, shared = cached()
    for _ in range(3):
        submit(shared, PROMPT)
        run(shared)
    assert shared.work.prefixes == PrefixWork(hits=2, tokens=4 * BLOCK)
