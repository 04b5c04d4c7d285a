"""The attention hook: all running sequences in one packed batch, each attending to its own tokens only.

Hugging Face's model code computes queries, keys and values for all rows of the step at once, and calls this
function instead of its own attention. The shapes of the calls for a sequence depend on that sequence only, so
its result has the same bits whatever else is in the batch.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from inference.engine.kv_cache import KVCache
from inference.engine.native.kernels import Kernels
from inference.engine.segment import TILE, Segment
from inference.engine.slots import Slots

NAME = "packed"


@dataclass(frozen=True)
class Tile:
    """Up to `TILE` rows of the step, from `row` on: tokens `[start, start + length)` of one sequence."""

    row: int
    length: int
    start: int
    slots: Slots


class AttentionBatch:
    """What attention needs to know of a step: which rows belong to which sequence, and where its past is.

    Args:
        segments: in the order of their rows.
        kernels: compute it; None leaves it to PyTorch.
    """

    def __init__(self, cache: KVCache, segments: list[Segment], kernels: Kernels | None) -> None:
        self.cache = cache
        self.kernels = kernels
        self.tiles: list[Tile] = []
        row = 0
        for segment in segments:
            self.tiles += _tiles(segment, row)
            row += len(segment.token_ids)
        # A tile of one row is computed like a generated token, wherever the prompt was cut.
        single = [[t.row, t.slots.start, t.start + 1] for t in self.tiles if t.length == 1]
        others = [[t.row, t.length, t.slots.start, t.start] for t in self.tiles if t.length > 1]
        self.single_rows = torch.tensor(single, dtype=torch.int64)
        self.prompt_tiles = torch.tensor(others, dtype=torch.int64)


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
    """Causal attention of a step's rows over the KV cache, with the signature that transformers expects.

    Args:
        query: `[1, heads, rows, head_dim]`; key and value are `[1, kv_heads, rows, head_dim]`.
        batch: passed through the model's forward call as a keyword. Rows after its own are padding.

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
            tiles=batch.prompt_tiles,
            single_rows=batch.single_rows,
            layer=layer,
            scale=scale,
        )
        return output[None], None
    output = query.new_zeros(shape)
    for tile in batch.tiles:
        rows = slice(tile.row, tile.row + tile.length)
        first, known = tile.slots.start + tile.start, tile.start + tile.length
        new = slice(first, first + tile.length)
        keys[:, new], values[:, new] = key[0, :, rows], value[0, :, rows]
        past = slice(tile.slots.start, tile.slots.start + known)
        past_keys, past_values = (pool[None, :, past].to(query.dtype) for pool in pools)
        attended = _attend(query[:, :, rows], past_keys, past_values, scaling)
        output[rows] = attended[0].transpose(0, 1)
    return output[None], None


def _tiles(segment: Segment, row: int) -> list[Tile]:
    """The segment, whose first row is `row`, cut at the multiples of `TILE` in its sequence."""
    start, end = segment.start, segment.start + len(segment.token_ids)
    cuts = [start, *range((start // TILE + 1) * TILE, end, TILE), end]
    return [Tile(row + first - start, last - first, first, segment.slots) for first, last in pairwise(cuts)]


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention of a sequence's last rows over all keys up to their own: `[1, heads, rows, dim]`."""
    _, heads, rows, dim = query.shape
    kv_heads, known = keys.shape[1], keys.shape[2]
    if rows == 1:
        # Grouped queries share their keys: as rows of one head, they need neither copies of them nor a mask.
        grouped = query.reshape(1, kv_heads, heads // kv_heads, dim)
        attended = scaled_dot_product_attention(grouped, keys, values, scale=scaling)
        return attended.reshape(1, heads, 1, -1)
    groups = heads // kv_heads
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
    visible = query.new_ones((rows, known), dtype=torch.bool).tril_(known - rows)
    return scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=scaling)


AttentionInterface.register(NAME, packed_attention)
