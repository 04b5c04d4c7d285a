"""How large the KV cache may be: what is left of the memory that this process may use, of RAM or of a GPU."""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import kv_cache_dtype

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_HEADROOM = 0.15
"""The part of the memory that is left for everything else: a step's own tensors, requests, the page cache."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Memory in bytes: what this process may use in all, and what is left of that for the KV cache."""

    limit: int
    left: int


def kv_cache_tokens(
    model_config: Any, config: EngineConfig, *, context_length: int, device: torch.device
) -> int:
    """The places of the KV cache: `config.kv_cache_tokens`, or where it is 0 as many as memory allows.

    That is at most a whole context for each running request. To be asked when the weights are in the
    memory of `device`.

    Raises:
        ModelUnavailable: memory does not allow one context.
    """
    if config.kv_cache_tokens:
        return config.kv_cache_tokens
    on_gpu = device.type == "cuda"
    budget = gpu_budget(device, config.processes) if on_gpu else ram_budget(config.processes)
    per_token = bytes_per_token(model_config, kv_cache_dtype(config))
    tokens = min(budget.left // per_token, config.max_running * context_length)
    if tokens < context_length:
        memory, instead = ("GPU memory", "LLM_DEVICE=cpu") if on_gpu else ("memory", "LLM_QUANTIZATION=int8")
        raise ModelUnavailable(
            f"{budget.limit / 1e9:.1f} GB of {memory} do not hold this model with a text of {context_length} "
            f"tokens: give it more, set {instead}, or set LLM_KV_CACHE_TOKENS to bound its texts."
        )
    return tokens


def ram_budget(processes: int) -> Budget:
    """What each of `processes` may use of this machine's memory."""
    limit = memory_limit() // processes
    return Budget(limit=limit, left=int(limit * (1 - _HEADROOM)) - anonymous_memory())


def gpu_budget(device: torch.device, processes: int) -> Budget:
    """What each of `processes` may use of the GPU's memory, as far as other programs leave it free."""
    free, total = torch.cuda.mem_get_info(device)
    limit = total // processes
    headroom = int(limit * _HEADROOM)
    own = torch.cuda.memory_allocated(device)
    return Budget(limit=limit, left=min(limit - headroom - own, free - headroom))


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Memory that one token's keys and values take in all layers, in bytes, if kept in `dtype`."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * dim * dtype.itemsize)


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
    """Give freed memory back to the system, where the C library can (glibc): loading leaves much of it.

    A GPU's is given back to it as well.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    torch.cuda.empty_cache()


def _meminfo(name: str, file: Path) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
