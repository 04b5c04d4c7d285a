"""The attention hook: every running sequence in one packed batch, each attending to its own past alone.

Hugging Face's model code computes queries, keys and values for all rows of the step at once and calls this
function instead of its own attention. The rows of a sequence are worked on by calls whose shapes depend on
that sequence only, so its result is the same bit for bit whoever else is in the batch.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from inference.engine.kv_cache import KVCache
from inference.engine.native.kernels import Kernels
from inference.engine.segment import TILE
from inference.engine.slots import Slots

NAME = "packed"


@dataclass(frozen=True)
class Span:
    """Rows `[row, row + length)` of the step, which are tokens `[start, start + length)` of one sequence."""

    row: int
    length: int
    start: int
    slots: Slots


class AttentionBatch:
    """What attention must know of one step: whose rows are whose, and where their past lies.

    Args:
        kernels: None has PyTorch compute it.
    """

    def __init__(self, cache: KVCache, spans: list[Span], kernels: Kernels | None) -> None:
        self.cache = cache
        self.kernels = kernels
        self.spans = spans
        self.blocks = [block for span in spans for block in _blocks(span)]
        # A block of one row is computed as a generated token is, however the prompt is cut.
        single = [[b.row, b.slots.start, b.start + 1] for b in self.blocks if b.length == 1]
        others = [[b.row, b.length, b.slots.start, b.start] for b in self.blocks if b.length > 1]
        self.single_rows = torch.tensor(single, dtype=torch.int64)
        self.prompt_blocks = torch.tensor(others, dtype=torch.int64)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    batch: AttentionBatch,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of a step's rows over the KV cache, in the form that transformers calls.

    Args:
        query: `[1, heads, rows, head_dim]`; key and value `[1, kv_heads, rows, head_dim]`, of the new rows.
        batch: passed through the model's forward call as a keyword. Rows beyond its own are padding.

    Returns:
        `[1, rows, heads, head_dim]`, and no weights.
    """
    layer, kv_heads = int(module.layer_idx), key.shape[1]  # type: ignore[arg-type]
    pools = batch.cache.pools(layer, kv_heads, key.shape[3], value.shape[3])
    keys, values = pools
    shape = (query.shape[2], query.shape[1], value.shape[3])
    if batch.kernels:
        output = query.new_empty(shape)
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        batch.kernels.attention(
            *(query, key, value, pools, output),
            tiles=batch.prompt_blocks,
            single_rows=batch.single_rows,
            layer=layer,
            scale=scale,
        )
        return output[None], None
    output = query.new_zeros(shape)
    for span in batch.spans:
        rows = slice(span.row, span.row + span.length)
        places = slice(span.slots.start + span.start, span.slots.start + span.start + span.length)
        keys[:, places], values[:, places] = key[0, :, rows], value[0, :, rows]
    for block in batch.blocks:
        rows = slice(block.row, block.row + block.length)
        known = slice(block.slots.start, block.slots.start + block.start + block.length)
        known_keys, known_values = (pool[None, :, known].to(query.dtype) for pool in pools)
        attended = _attend(query[:, :, rows], known_keys, known_values, scaling)
        output[rows] = attended[0].transpose(0, 1)
    return output[None], None


def _blocks(span: Span) -> list[Span]:
    """The span cut at the multiples of TILE, in tokens of its sequence."""
    end = span.start + span.length
    cuts = [span.start, *range((span.start // TILE + 1) * TILE, end, TILE), end]
    return [
        Span(span.row + first - span.start, last - first, first, span.slots) for first, last in pairwise(cuts)
    ]


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention of a sequence's last rows over its keys up to and with them: `[1, heads, rows, dim]`."""
    _, heads, rows, dim = query.shape
    kv_heads, known = keys.shape[1], keys.shape[2]
    if rows == 1:
        # Grouped queries share their keys: as rows of one head they need no copies of them, and no mask.
        grouped = query.reshape(1, kv_heads, heads // kv_heads, dim)
        attended = scaled_dot_product_attention(grouped, keys, values, scale=scaling)
        return attended.reshape(1, heads, 1, -1)
    groups = heads // kv_heads
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
    visible = query.new_ones((rows, known), dtype=torch.bool).tril_(known - rows)
    return scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=scaling)


AttentionInterface.register(NAME, packed_attention)
