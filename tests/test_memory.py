from pathlib import Path

import numpy as np
import pytest
import torch

from inference.engine import memory
from inference.engine.blocks import BLOCK
from inference.engine.compute.device_memory import gpu_budget
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import CachedLayer, KVCache
from tests.models import CONTEXT_LENGTH, tiny_gpt2, tiny_llama

FLOAT32 = np.dtype(np.float32)
MIB = 1024 * 1024
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def tokens(config: EngineConfig, device: torch.device = CPU) -> int:
    return 16 * memory.kv_cache_blocks(
        config,
        token_bytes=memory.bytes_per_token(tiny_gpt2().config, FLOAT32),
        context_length=CONTEXT_LENGTH,
        gpu=gpu_budget(device, config.processes),
    )


def test_a_token_s_bytes_count_the_layers_and_the_heads_that_keep_keys() -> None:
    assert (
        memory.bytes_per_token(tiny_gpt2().config, FLOAT32) == 2 * 2 * 64 * 4
    )  # keys and values, layers, width
    assert (
        memory.bytes_per_token(tiny_llama().config, np.dtype(np.float16)) == 2 * 2 * 2 * 16 * 2
    )  # of six heads, two keep keys


@pytest.mark.parametrize("kept", ["float32", "float16", "int8"])
def test_a_token_s_bytes_are_those_that_the_cache_takes(kept: str) -> None:
    dtype = np.dtype(kept)
    cache = KVCache(blocks=1, dtype=dtype)
    layers = [CachedLayer(number, 2, 16, 16) for number in range(2)]
    taken = sum(pool.nbytes for pair in cache.pools(layers) for pool in pair)
    assert taken == BLOCK * memory.bytes_per_token(tiny_llama().config, dtype)


def test_the_cache_is_no_larger_than_what_can_run() -> None:
    assert tokens(EngineConfig(max_running=3)) == 3 * CONTEXT_LENGTH
    assert tokens(EngineConfig(max_running=3, kv_cache_tokens=77)) == 80
    assert tokens(EngineConfig(max_running=3, kv_cache_tokens=CONTEXT_LENGTH + 77)) == CONTEXT_LENGTH + 64


def test_the_cache_fits_the_memory_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "anonymous_memory", lambda: 60 * MIB)
    monkeypatch.setattr(memory, "shared_memory", lambda: 40 * MIB)
    monkeypatch.setattr(memory, "memory_limit", lambda: 130 * MIB)
    many = tokens(EngineConfig(max_running=1000))
    assert CONTEXT_LENGTH < many < 17 * MIB // 1024
    monkeypatch.setattr(memory, "memory_limit", lambda: 260 * MIB)
    shared_twice = 20 * MIB // 1024
    assert tokens(EngineConfig(max_running=1000, processes=2)) == many + shared_twice


def test_too_little_memory_is_reported_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 50 * MIB)
    with pytest.raises(ModelUnavailable, match=r"0\.1 GB of memory .* LLM_DTYPE=int[48]"):
        tokens(EngineConfig())


def test_on_a_gpu_the_cache_fits_the_memory_that_is_left_there(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 130 * MIB
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 200 * MIB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 70 * MIB)
    many = EngineConfig(max_running=1000)
    assert tokens(many, CUDA) == (200 - 30 - 70) * MIB // 1024
    free = 60 * MIB  # another program has taken its part
    assert tokens(many, CUDA) == (60 - 30) * MIB // 1024
    assert tokens(EngineConfig(max_running=1000, processes=2), CUDA) == (100 - 15 - 70) * MIB // 1024
    free = 20 * MIB
    with pytest.raises(ModelUnavailable, match=r"0\.2 GB of GPU memory .* set LLM_DEVICE=cpu"):
        tokens(many, CUDA)


def test_the_limit_is_that_of_the_control_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = memory.memory_limit()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (limit, tmp_path / "missing"))
    for text, expected in (("max\n", machine), (f"{64 * MIB}\n", 64 * MIB), (f"{2**63}\n", machine)):
        limit.write_text(text)
        assert memory.memory_limit() == expected
