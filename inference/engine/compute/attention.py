"""The attention hook: all running sequences in one packed batch, each attending to its own tokens only.

Hugging Face's model code computes queries, keys and values for all rows of the step at once, and calls this
function instead of its own attention. A row is computed in one way, which depends on its own tokens only: the
result has the same bits whatever else is in the batch, and however the text is cut into segments.
"""

from typing import Any

import torch
from transformers import AttentionInterface

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.tensor_cache import TensorCache
from inference.engine.compute.tiles import Tiles, by_block
from inference.engine.kv_cache import CachedLayer
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment

NAME = "packed"


class AttentionBatch(Tiles):
    """What attention needs to know of a step: which rows belong to which sequence, and where its past is.

    Args:
        segments: in the order of their rows.
        kernels: compute it; None leaves it to PyTorch.
    """

    def __init__(self, cache: TensorCache, segments: list[Segment], kernels: Kernels | None) -> None:
        super().__init__(segments)
        self.cache = cache
        self.kernels = kernels
        self.segments = segments


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
    cached = CachedLayer(layer, kv_heads, key.shape[3], value.shape[3])
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    shape = (query.shape[2], query.shape[1], value.shape[3])
    if batch.kernels:
        output = query.new_empty(shape)
        (pools,) = batch.cache.host.pools([cached])
        batch.kernels.attention(
            *(query, key, value, pools, output),
            tiles=batch.tiles,
            tables=batch.tables,
            layer=layer,
            scale=scale,
        )
        return output[None], None
    output = query.new_zeros(shape)
    tensors = batch.cache.tensors(cached)
    row = 0
    for segment in batch.segments:
        rows = slice(row, row + len(segment.token_ids))
        _store(segment, key[0, :, rows], value[0, :, rows], tensors)
        output[rows] = _attended(segment, query[0, :, rows] * scale, tensors, value.shape[3])
        row = rows.stop
    return output[None], None


def _store(
    segment: Segment, key: torch.Tensor, value: torch.Tensor, pools: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Store `[kv_heads, rows, dim]` of a segment in its blocks."""
    keys, values = pools
    for first, last in by_block(segment):
        block, place = segment.blocks[first // BLOCK], first % BLOCK
        new, filled = slice(first - segment.start, last - segment.start), slice(place, place + last - first)
        keys[block, :, :, filled] = key[:, new].transpose(1, 2)
        values[block, :, filled, : value.shape[2]] = value[:, new]
        # Values that a row may not see are multiplied by zero, and what another sequence left can be NaN.
        values[block, :, filled.stop :] = 0


def _attended(
    segment: Segment, query: torch.Tensor, pools: tuple[torch.Tensor, torch.Tensor], value_dim: int
) -> torch.Tensor:
    """Attention of a segment's rows, whose `query` is `[heads, rows, dim]`: `[rows, heads, value_dim]`.

    Row by row, and block by block within a row: so all shapes depend on the row's position only.
    """
    count, (heads, rows, dim) = blocks_of(segment.end), query.shape
    keys, values = (_dense(pool, segment.blocks[:count]).to(query.dtype) for pool in pools)
    kv_heads, width = values.shape[1], values.shape[3]
    grouped = query.view(kv_heads, heads // kv_heads, rows, dim)
    output = query.new_empty((rows, heads, value_dim))
    for row in range(rows):
        seen = segment.start + row + 1
        count = blocks_of(seen)
        queries = grouped[:, :, row].expand(count, *grouped[:, :, row].shape)
        scores = (queries @ keys[:count]).permute(1, 2, 0, 3).reshape(kv_heads, -1, count * BLOCK)
        scores[:, :, seen:] = -torch.inf
        weights = scores.softmax(-1).unflatten(-1, (count, BLOCK)).permute(2, 0, 1, 3)
        output[row] = (weights @ values[:count]).sum(0).view(heads, width)[:, :value_dim]
    return output


def _dense(pool: torch.Tensor, blocks: list[int]) -> torch.Tensor:
    """These blocks, without a copy where they lie side by side and nothing lies between them."""
    first, count = blocks[0], len(blocks)
    if blocks == list(range(first, first + count)):
        return pool[first : first + count].contiguous()
    return pool[torch.tensor(blocks, device=pool.device)]


AttentionInterface.register(NAME, packed_attention)
