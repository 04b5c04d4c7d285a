"""A text's logits are the same bits however it is cut into segments, and in any company."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.compiled.model import CompiledModel
from inference.engine.compute.model import LanguageModel
from inference.engine.config import KVCacheDtype, WeightDtype
from inference.engine.native import kernels as native
from inference.engine.segment import Segment
from tests.examples import examples
from tests.models import compiled, path_or_skip, prepared, tiny_llama, tiny_of_kind

LONGEST = 5 * BLOCK


def gpt2(width: int) -> PreTrainedModel:
    """Two heads."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=257, n_positions=128, n_embd=width, n_layer=2, n_head=2)
    model: PreTrainedModel = GPT2LMHeadModel(config).eval()
    return model


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "grouped heads": tiny_llama,
    "heads of 64": lambda: gpt2(128),
    "heads of 128": lambda: tiny_of_kind("llama", head_dim=128, num_attention_heads=2, num_key_value_heads=1),
    "heads of 18": lambda: tiny_of_kind("llama", head_dim=18),
    "heads of 7": lambda: gpt2(14),
}
WAYS = [(kind, "float32", True, "auto") for kind in MODELS]
WAYS += [("heads of 64", "float16", True, "auto"), ("grouped heads", "float16", True, "auto")]
WAYS += [("grouped heads", "float32", False, "auto"), ("heads of 64", "float16", False, "auto")]
WAYS += [("grouped heads", "float16", True, "bfloat16")]
WAYS += [("grouped heads", "int8", True, "int8"), ("heads of 64", "int8", True, "auto")]


@cache
def model(
    kind: str, dtype: KVCacheDtype, kernels: bool, weights: WeightDtype
) -> LanguageModel | CompiledModel:
    """Compiled, as a service computes it, where there are kernels."""
    with nullcontext() if kernels else patch.object(native, "load", return_value=None):
        path = path_or_skip(weights)
    make = compiled if path.layers.native else prepared
    made = make(MODELS[kind](), kv_cache_tokens=64 * BLOCK, kv_cache_dtype=dtype, path=path)
    assert made is not None
    return made


@dataclass
class Text:
    """What is left to compute of a text, its blocks, and the logits so far."""

    token_ids: list[int]
    blocks: list[int]
    done: int = 0
    logits: list[torch.Tensor] = field(default_factory=list)

    def next_segment(self, most: int) -> Segment:
        """Its next tokens, with the logits after each of them."""
        token_ids = self.token_ids[self.done : self.done + most]
        return Segment(token_ids, self.done, self.blocks, len(token_ids))


def compute(model: LanguageModel | CompiledModel, steps: list[tuple[Text, Segment]]) -> None:
    logits = torch.tensor(np.asarray(model.forward([segment for _, segment in steps])))
    for (text, segment), rows in zip(steps, logits.split([s.logits for _, s in steps]), strict=True):
        text.logits.append(rows)
        text.done += len(segment.token_ids)


@pytest.mark.parametrize(("kind", "dtype", "kernels", "weights"), WAYS)
def test_any_cutting_in_any_company_gives_the_same_bits(
    kind: str, dtype: KVCacheDtype, kernels: bool, weights: WeightDtype
) -> None:
    computed = model(kind, dtype, kernels, weights)
    whole: dict[tuple[int, ...], torch.Tensor] = {}

    def alone(token_ids: list[int]) -> torch.Tensor:
        if (known := whole.get(tuple(token_ids))) is None:
            text = Text(token_ids, list(range(blocks_of(len(token_ids)))))
            compute(computed, [(text, text.next_segment(len(token_ids)))])
            known = whole[tuple(token_ids)] = text.logits[0].clone()
        return known

    @settings(max_examples=examples(12), deadline=None)
    @given(st.data())
    def cut(data: st.DataObject) -> None:
        lengths = data.draw(st.lists(st.integers(1, LONGEST), min_size=1, max_size=4), label="lengths")
        blocks = data.draw(st.permutations(range(64)), label="blocks")
        texts = []
        for i, length in enumerate(lengths):
            taken, blocks = blocks[: blocks_of(length)], blocks[blocks_of(length) :]
            texts.append(Text([(31 * i + 7 * j * j + j) % 256 for j in range(length)], taken))
        pieces = st.sampled_from([0, 1, 1, 1, 3, 7, 16, 33, LONGEST])
        while left := [text for text in texts if text.done < len(text.token_ids)]:
            drawn = [(text, data.draw(pieces)) for text in left]
            compute(
                computed,
                [(text, text.next_segment(most)) for text, most in drawn if most]
                or [(left[0], left[0].next_segment(1))],
            )
        for text in texts:
            assert torch.equal(torch.cat(text.logits), alone(text.token_ids))

    cut()
