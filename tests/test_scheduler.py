"""The scheduler and the engine's loop with a mock model and without torch: who runs, what a step computes."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inference.engine.blocks import BlockPool
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed, Overloaded
from inference.engine.generation import Generation
from inference.engine.load import OwnerLoad, Work
from inference.engine.request import Chat, GenerationRequest, PreparedRequest, Prompt, SamplingParams
from inference.engine.sampler import draw
from inference.engine.segment import Segment
from inference.engine.sequence import Sequence
from inference.engine.vocabulary import Kind

VOCABULARY = 16
GREEDY = SamplingParams(do_sample=False)


class Letters:
    """A tokenizer whose tokens are the letters from `a` on."""

    special_ids: Mapping[str, int] = {}
    vocabulary_size = VOCABULARY
    tool_format = None

    def kind(self, token_id: int) -> Kind:
        return Kind.TEXT

    def encode(self, prompt: Prompt, *, special_tokens: bool = True) -> tuple[int, ...]:
        assert not isinstance(prompt, Chat)
        return tuple(ord(letter) - ord("a") for letter in prompt) if isinstance(prompt, str) else prompt

    def least_tokens(self, prompt: Prompt) -> int:
        return 0

    def token_bytes(self, token_id: int) -> bytes:
        return self.decode([token_id]).encode()

    def decode(self, token_ids: Any) -> str:
        return "".join(chr(ord("a") + token_id) for token_id in token_ids)


def after(token_id: int) -> int:
    return (token_id + 1) % VOCABULARY


class Counting:
    """A model that continues the alphabet, and remembers what it was asked to compute."""

    name, context_length = "counting", 64

    def __init__(self) -> None:
        self.blocks = BlockPool(8)
        self.steps: list[list[Segment]] = []
        self.broken = False

    def use_threads(self, threads: int) -> None:
        pass

    def forward(self, segments: list[Segment]) -> Any:
        if self.broken and any(segment.token_ids[0] == 9 for segment in segments):
            raise RuntimeError("broken")
        self.steps.append(segments)
        last = [token_id for s in segments for token_id in s.token_ids[-s.logits :]]
        return np.eye(VOCABULARY, dtype=np.float32)[[after(token_id) for token_id in last]]


def engine(model: Counting, **config: Any) -> Engine:
    return Engine(model, Letters(), replace(EngineConfig(max_running=4), **config))


def submit(engine: Engine, prompt: str, *, new: int = 4, owner: str = "", **more: Any) -> Generation:
    request = GenerationRequest(prompt=prompt, sampling=GREEDY, max_new_tokens=new, owner=owner, **more)
    return engine.submit(engine.prepare(request))


def run(engine: Engine) -> None:
    while engine.step():
        pass


@pytest.mark.slow
def test_the_loop_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from tests.test_scheduler import *\n"
        "test_a_step_computes_one_token_of_each_running_request_and_a_bounded_part_of_a_prompt()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_step_computes_one_token_of_each_running_request_and_a_bounded_part_of_a_prompt() -> None:
    model = Counting()
    running = engine(model, prefill_tokens=32, prefill_tokens_shared=16)
    short = submit(running, "ab", new=6)
    running.step()
    long = submit(running, "a" * 40, new=2)
    run(running)
    shapes = [[len(segment.token_ids) for segment in step] for step in model.steps]
    assert shapes == [[2], [1, 15], [1, 15], [1, 10], [1, 1], [1]]
    assert (short.result().text, long.result().text) == ("cdefgh", "bc")
    assert running.load.kv_tokens_used == 0


@pytest.mark.parametrize(("texts", "prompt_tokens"), [(1, 15), (4, 12), (5, 16), (8, 16)])
def test_few_texts_and_a_prompt_beside_them_share_the_rows_of_a_step(texts: int, prompt_tokens: int) -> None:
    model = Counting()
    model.blocks = BlockPool(16)
    running = engine(model, max_running=9, prefill_tokens=32, prefill_tokens_shared=16)
    for _ in range(texts):
        submit(running, "a", new=8)
    running.step()
    submit(running, "a" * 40, new=1)
    running.step()
    assert [len(segment.token_ids) for segment in model.steps[-1]] == texts * [1] + [prompt_tokens]
    run(running)


def test_the_load_of_each_owner_and_the_work_are_known() -> None:
    shared = engine(Counting(), max_running=2)
    for owner in ("one", "one", "two"):
        submit(shared, "ab", new=3, owner=owner)
    shared.step()

    owners = {"one": OwnerLoad(running=1, queued=1), "two": OwnerLoad(running=1, queued=0)}
    assert shared.load.owners == owners
    assert shared.work == Work(steps=1, segments=2, completion_tokens=2)
    run(shared)
    assert shared.load.owners == {}
    assert shared.work == Work(steps=6, segments=9, completion_tokens=9)


def test_the_prompts_of_a_step_share_its_bound() -> None:
    model = Counting()
    shared = engine(model, prefill_tokens=32)
    for letter, length in (("a", 20), ("b", 30), ("c", 2)):
        submit(shared, letter * length, new=1)
    run(shared)
    shapes = [[len(segment.token_ids) for segment in step] for step in model.steps]
    assert shapes[0] == [20, 12]
    assert sum(map(sum, shapes)) == 20 + 30 + 2


def test_the_owner_with_the_fewest_running_is_admitted_next() -> None:
    model = Counting()
    shared = engine(model, max_running=2)
    submitted = [submit(shared, "a", new=1, owner=owner) for owner in ("one", "one", "one", "two")]
    shared.step()
    assert [generation.done for generation in submitted] == [True, False, False, True]


def test_a_full_queue_drops_the_newest_request_of_the_owner_with_the_most_waiting() -> None:
    shared = engine(Counting(), max_running=1, max_queued=3)
    submit(shared, "a", owner="one")
    shared.step()
    waiting = [submit(shared, "a", owner="one") for _ in range(3)]
    with pytest.raises(Overloaded):
        submit(shared, "a", owner="one")
    submit(shared, "a", owner="two")
    assert [generation.done for generation in waiting] == [False, False, True]
    with pytest.raises(Overloaded):
        waiting[2].result()


def test_a_step_that_fails_is_computed_again_and_only_its_cause_fails() -> None:
    model = Counting()
    shared = engine(model)
    model.broken = True
    good, bad = submit(shared, "ab"), submit(shared, "j")
    run(shared)
    assert good.result().text == "cdef"
    with pytest.raises(GenerationFailed):
        bad.result()


def logits(*token_ids: int) -> Any:
    return np.eye(VOCABULARY, dtype=np.float32)[list(token_ids)]


@pytest.mark.parametrize(
    ("request_fields", "rows", "text", "reason", "accepted"),
    [
        ({"max_new_tokens": 9}, (2, 3, 4), "cde", None, 3),
        ({"max_new_tokens": 2}, (2, 3, 4), "cd", "length", 2),
        ({"max_new_tokens": 9}, (2, 15, 4), "c", "stop", 2),
        ({"max_new_tokens": 9, "stop": ("de",)}, (2, 3, 4, 5), "c", "stop", 3),
    ],
)
def test_a_sequence_accepts_several_tokens_of_a_step_until_its_text_ends(
    request_fields: dict[str, Any], rows: tuple[int, ...], text: str, reason: str | None, accepted: int
) -> None:
    request = GenerationRequest(prompt="ab", sampling=GREEDY, **request_fields)
    prepared = PreparedRequest(request=request, prompt_tokens=2, prompt_ids=(0, 1))
    generation = Generation(prepared, submitted_at=0.0)
    sequence = Sequence(generation, prepared, Letters(), eos_ids=frozenset({15}), draw=draw)
    sequence.blocks = [0]
    segment = Segment([0, 1, *rows[:-1]], 0, sequence.blocks, logits=len(rows))
    sequence.advance(segment, logits(*rows), now=1.0)
    events = generation.events_from(0)
    assert "".join(event.text for event in events) == text
    assert [event.finish_reason for event in events] == [None] * (accepted - 1) + [reason]
    assert all(len(event.token_ids) == 1 for event in events)
    assert generation.completion_tokens == accepted
    assert sequence.finished is (reason is not None)
    if reason is None:
        assert sequence.next_segment(1) == Segment([rows[-1]], 2 + accepted - 1, sequence.blocks)
