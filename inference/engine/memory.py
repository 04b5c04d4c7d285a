"""The size of the KV cache: what the weights leave of the RAM or GPU memory that this process may use."""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.config import EngineConfig, WeightDtype
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import bytes_per_head

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
HEADROOM = 0.15
"""The part of the memory reserved for everything else: the tensors of a step, requests, the page cache."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Memory in bytes: what this process may use in total, and what of it is left for the KV cache."""

    limit: int
    left: int


def kv_cache_blocks(
    config: EngineConfig, *, token_bytes: int, context_length: int, gpu: Budget | None = None
) -> int:
    """The blocks of the KV cache, for `config.kv_cache_tokens` or if that is 0 for as much as memory allows.

    Tokens that do not fill a block get none, unless the rest would be too small for one context.

    Memory allows at most a whole context for each running request. Call it when the weights are in memory,
    because it measures what they leave.

    Args:
        token_bytes: what a token takes in the KV cache (`bytes_per_token`).
        gpu: memory of the GPU that holds the weights and the KV cache; None if they are in this machine's.

    Raises:
        ModelUnavailable: memory does not allow one context.
    """
    if config.kv_cache_tokens:
        return _whole_blocks(config.kv_cache_tokens, context_length)
    budget = gpu or ram_budget(config.processes)
    tokens = min(budget.left // token_bytes, config.max_running * context_length)
    if tokens < context_length:
        memory = "GPU memory" if gpu else "memory"
        smaller = ["LLM_DEVICE=cpu"] if gpu else _smaller_format(config.dtype)
        raise ModelUnavailable(
            f"{budget.limit / 1e9:.1f} GB of {memory} are too small for this model and a text of "
            f"{context_length} tokens: provide more, "
            + "".join(f"set {setting}, " for setting in smaller)
            + "or limit the length of texts with LLM_KV_CACHE_TOKENS."
        )
    return _whole_blocks(tokens, context_length)


def _whole_blocks(tokens: int, context_length: int) -> int:
    return max(tokens // BLOCK, blocks_of(min(tokens, context_length)))


def _smaller_format(dtype: WeightDtype) -> list[str]:
    """The setting that makes the weights smallest on this CPU, if they can be smaller."""
    # Imported here: only a start that fails needs them, and torch with them.
    from inference.engine.compute.formats import FORMATS

    size = FORMATS[dtype].bytes_per_weight
    formats = sorted(FORMATS.items(), key=lambda item: item[1].bytes_per_weight)
    smaller = [name for name, one in formats if one.bytes_per_weight < size]
    return [f"LLM_DTYPE={name}" for name in smaller if _computed_here(name)][:1]


def _computed_here(dtype: WeightDtype) -> bool:
    from inference.engine.compute.path import cpu_path

    try:
        cpu_path(dtype)
    except ModelUnavailable:
        return False
    return True


def ram_budget(processes: int) -> Budget:
    """What each of `processes` processes may use of this machine's memory."""
    limit = memory_limit() // processes
    used = anonymous_memory() + shared_memory() // processes
    return Budget(limit=limit, left=int(limit * (1 - HEADROOM)) - used)


def bytes_per_token(config: Any, dtype: np.dtype[Any]) -> int:
    """The size of one token's keys and values in all layers, in bytes.

    Args:
        config: of the model, as transformers has it.
        dtype: of the KV cache.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(text.num_hidden_layers * heads * bytes_per_head(dim, dim, dtype))


def memory_limit() -> int:
    """Bytes that this process may use: its control group's limit, or the machine's memory if that is less."""
    limits = [_meminfo("MemTotal", Path("/proc/meminfo"))]
    for file in _CGROUP_LIMITS:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def anonymous_memory() -> int:
    """Resident bytes of this process that no file backs, so the system cannot drop them."""
    return _meminfo("RssAnon", Path("/proc/self/status"))


def shared_memory() -> int:
    """Resident bytes that this process shares with others and no file on a disk backs: the packed weights."""
    return _meminfo("RssShmem", Path("/proc/self/status"))


def return_freed_memory() -> None:
    """Return freed memory to the system if the C library can (glibc): loading leaves much of it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _meminfo(name: str, file: Path) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
