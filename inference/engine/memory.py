"""How large the KV cache may be: what is left of the memory that this process may use."""

import ctypes
from pathlib import Path
from typing import Any

from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_HEADROOM = 0.15
"""The part of the memory that is left for everything else: a step's own tensors, requests, the page cache."""
_FLOAT_BYTES = 4


def kv_cache_tokens(model_config: Any, config: EngineConfig, *, context_length: int) -> int:
    """The places of the KV cache: `config.kv_cache_tokens`, or where it is 0 as many as memory allows.

    That is at most a whole context for each running request. To be asked when the weights are in memory.

    Raises:
        ModelUnavailable: memory does not allow one context.
    """
    if config.kv_cache_tokens:
        return config.kv_cache_tokens
    limit = memory_limit() // config.processes
    left = int(limit * (1 - _HEADROOM)) - anonymous_memory()
    tokens = min(left // bytes_per_token(model_config), config.max_running * context_length)
    if tokens < context_length:
        raise ModelUnavailable(
            f"{limit / 1e9:.1f} GB of memory do not hold this model with a text of {context_length} tokens: "
            "give it more, set LLM_QUANTIZATION=int8, or set LLM_KV_CACHE_TOKENS to bound its texts."
        )
    return tokens


def bytes_per_token(config: Any) -> int:
    """Memory that one token's keys and values take in all layers, in bytes."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * dim * _FLOAT_BYTES)


def memory_limit() -> int:
    """Bytes that this process may use: its control group's limit, or the machine's memory if less."""
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
    """Bytes of this process's own memory that are resident: no file could give them again."""
    return _meminfo("RssAnon", Path("/proc/self/status"))


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc): loading leaves much of it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _meminfo(name: str, file: Path) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
