"""Texts of a real model with the prefix cache: the same as without it, however little memory there is."""

from dataclasses import replace
from typing import Any

import pytest

from inference.engine.blocks import BLOCK
from inference.engine.config import EngineConfig, PrefixSharing
from inference.engine.engine import Engine
from inference.engine.generation import Completion
from inference.engine.grammar.source import Grammar
from inference.engine.request import SamplingParams
from tests.engine_requests import finish, request, submit
from tests.models import tiny_engine

PROMPTS = ("Once upon a time there was a king.", "Once upon a time there was a queen who could write.", "No.")


def texts(engine: Engine) -> list[Completion]:
    """Requests that come one after the other, begin alike, and go on with the answers of others."""
    generations = []
    for seed in range(8):
        sampling = SamplingParams(
            seed=seed // 2, temperature=1.0, repetition_penalty=1.1, presence_penalty=0.3
        )
        for prompt in PROMPTS:
            more: dict[str, Any] = {"sampling": sampling, "owner": str(seed % 2), "logprobs": 2}
            generations.append(submit(engine, request(prompt, new=30, **more)))
        for _ in range(4 * seed):
            engine.step()
    finish(engine)
    first = [one.result() for one in generations]
    turns = [
        submit(
            engine, replace(before.request, prompt=before.request.prompt + one.token_ids, max_new_tokens=8)
        )
        for before, one in zip(generations[:6], first[:6], strict=True)
        if isinstance(before.request.prompt, tuple)
    ]
    finish(engine)
    return first + [one.result() for one in turns]


@pytest.fixture(scope="module")
def without() -> list[Completion]:
    config = EngineConfig(kv_cache_tokens=4096, speculation="off", prefix_cache="off")
    return texts(tiny_engine(config, start=False))


@pytest.mark.parametrize("sharing", ["per_key", "shared"])
@pytest.mark.parametrize("blocks", [12, 256])
def test_texts_are_the_same_to_the_bit(
    without: list[Completion], sharing: PrefixSharing, blocks: int
) -> None:
    config = EngineConfig(kv_cache_tokens=blocks * BLOCK, prefix_cache=sharing, max_queued=100)
    engine = tiny_engine(config, start=False)
    assert texts(engine) == without
    assert engine.work.prefixes.hits > 0
    assert (engine.work.prefixes.evictions > 0) == (blocks == 12)
    assert engine.load.kv_tokens_used == 0


def test_a_text_that_is_drawn_again_leaves_what_others_found_as_it_was() -> None:
    unique = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2, "uniqueItems": True}

    grammar = Grammar.of_schema(unique, field="json_schema")

    def drawn(sharing: PrefixSharing) -> list[str]:
        engine = tiny_engine(EngineConfig(kv_cache_tokens=4096, prefix_cache=sharing), start=False)
        try:
            # 32 tokens: the block that is full after the prompt is not found before the text has ended.
            generations = [
                submit(engine, request("p" * 2 * BLOCK, seed=seed, new=30, grammar=grammar))
                for seed in range(6)
            ] + [submit(engine, request("p" * 2 * BLOCK, seed=seed, new=30)) for seed in range(6)]
            finish(engine)
            return [getattr(one.outcome, "text", str(one.outcome)) for one in generations]
        finally:
            engine.stop()

    assert drawn("per_key") == drawn("off")
