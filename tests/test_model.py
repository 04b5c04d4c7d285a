"""The service's promise: a text's logits are the same bits alone, in any batch, prefilled in any chunks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.blocks import blocks_of
from inference.engine.compute.model import LanguageModel
from inference.engine.segment import Segment
from tests.models import SHAPES, byte_tokenizer, compute_on, prepared, tiny_gpt2, tiny_of_kind

LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 64, 70, 100)


def texts() -> list[list[int]]:
    return [[(i * 31 + j * j * 7 + j) % 256 for j in range(length)] for i, length in enumerate(LENGTHS)]


def logits_alone(model: LanguageModel, token_ids: list[int], decoded: int) -> torch.Tensor:
    """Logits after the prompt and after each of `decoded` further tokens, one sequence at a time."""
    blocks = model.blocks.take(blocks_of(len(token_ids)))
    assert blocks
    prompt = len(token_ids) - decoded
    rows = [model.forward([Segment(token_ids[:prompt], 0, blocks)])]
    rows += [model.forward([Segment([token_ids[i]], i, blocks)]) for i in range(prompt, len(token_ids))]
    model.blocks.release(blocks)
    return torch.cat(rows)


WAYS = [(shape, threads, "float32") for shape in SHAPES for threads in (1, 2, 3)]
WAYS += [(shape, 2, dtype) for shape in SHAPES for dtype in ("float16", "int8")]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def model(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    shape, threads, kv_cache_dtype = request.param
    before = torch.get_num_threads()
    compute_on(threads)
    yield prepared(SHAPES[shape](), kv_cache_tokens=1024, kv_cache_dtype=kv_cache_dtype)
    compute_on(before)


def test_logits_are_the_same_bits_alone_and_in_a_batch_that_others_join_and_leave(
    model: LanguageModel,
) -> None:
    decoded = 6
    sequences = [[*text, *range(decoded)] for text in texts()]
    alone = [logits_alone(model, sequence, decoded) for sequence in sequences]

    ranges = [model.blocks.take(blocks_of(len(sequence))) for sequence in sequences]
    done = [0] * len(sequences)
    together: list[list[torch.Tensor]] = [[] for _ in sequences]
    step = 0
    while min(len(rows) for rows in together) < decoded + 1:
        segments, members = [], []
        for i, (sequence, blocks) in enumerate(zip(sequences, ranges, strict=True)):
            if step < i or len(together[i]) > decoded:  # the i-th joins at step i, and leaves when it is done
                continue
            end = done[i] + 1 if done[i] else len(sequence) - decoded
            assert blocks
            segments.append(Segment(sequence[done[i] : end], done[i], blocks))
            members.append((i, end))
        for (i, end), row in zip(members, model.forward(segments), strict=True):
            done[i] = end
            together[i].append(row)
        step += 1

    for blocks in ranges:
        assert blocks
        model.blocks.release(blocks)
    for expected, rows in zip(alone, together, strict=True):
        assert torch.equal(expected, torch.stack(rows))


@pytest.mark.parametrize("chunk", [32, 64, 96])
@pytest.mark.parametrize("tokens", [201, 193])
def test_a_prompt_prefilled_in_chunks_gives_the_same_bits(
    model: LanguageModel, chunk: int, tokens: int
) -> None:
    prompt = [(j * j * 7 + j) % 256 for j in range(tokens)]
    whole = logits_alone(model, prompt, 0)
    blocks = model.blocks.take(blocks_of(len(prompt)))
    assert blocks
    for start in range(0, len(prompt), chunk):
        last = model.forward([Segment(prompt[start : start + chunk], start, blocks)])
    model.blocks.release(blocks)
    assert torch.equal(last, whole)


def test_logits_are_those_of_the_model_s_own_code() -> None:
    for make in SHAPES.values():
        stock, text = make(), texts()[-1]
        with torch.inference_mode():
            expected = stock(input_ids=torch.tensor([text])).logits[0, -1:]
        model = prepared(make(), kv_cache_tokens=1024)
        torch.testing.assert_close(logits_alone(model, text, 0), expected, rtol=1e-4, atol=1e-4)


def test_logits_of_the_quick_start_model_are_the_same_bits_in_a_batch(quickstart_model: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    quickstart = prepared(stock, kv_cache_tokens=1024)
    prompts = [byte_tokenizer()(text)["input_ids"] for text in ("Once upon a time", "x", "def main():" * 9)]
    alone = [logits_alone(quickstart, prompt, 0) for prompt in prompts]
    segments = [Segment(prompt, 0, quickstart.blocks.take(blocks_of(len(prompt)))) for prompt in prompts]  # type: ignore[arg-type]
    together = quickstart.forward(segments)
    assert torch.equal(torch.cat(alone), together)


def test_this_machine_keeps_the_promise(model: LanguageModel) -> None:
    assert model.reproducible


def test_a_sliding_window_bounds_the_context() -> None:
    small = tiny_gpt2()
    small.config.sliding_window = 64
    assert prepared(small, kv_cache_tokens=1024).context_length == 64


def test_the_context_ends_before_one_text_changes_the_others() -> None:
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    phi3 = tiny_of_kind(
        "phi3",
        max_position_embeddings=512,
        original_max_position_embeddings=128,
        rope_scaling={"rope_type": "longrope", **factors},
    )
    model = prepared(phi3, kv_cache_tokens=256)
    assert model.context_length == 128
    assert model.reproducible
