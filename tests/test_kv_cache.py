import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.config import EngineConfig, KVCacheDtype, Quantization
from inference.engine.kv_cache import KVCache, Slots, kv_cache_dtype


def test_places_given_back_can_be_given_again_whole() -> None:
    cache = KVCache(tokens=100)
    held = [cache.allocate(20) for _ in range(5)]
    assert cache.allocate(1) is None
    for slots in (held[3], held[1], held[2]):
        assert slots
        cache.release(slots)
    assert cache.allocate(60) == Slots(20, 60)


@given(st.lists(st.integers(1, 40), max_size=60))
def test_ranges_never_overlap_and_none_is_lost(sizes: list[int]) -> None:
    cache = KVCache(tokens=128)
    held: list[Slots] = []
    for size in sizes:
        slots = cache.allocate(size)
        if slots is None:
            assert held
            cache.release(held.pop(len(held) // 2))
            continue
        assert slots.size == size
        assert all(slots.start + size <= h.start or h.start + h.size <= slots.start for h in held)
        held.append(slots)
        assert cache.free_tokens == 128 - sum(h.size for h in held)
    for slots in held:
        cache.release(slots)
    assert cache.allocate(128) == Slots(0, 128)


def test_each_layer_has_pools_of_its_own_shape() -> None:
    cache = KVCache(tokens=10)
    first = cache.pools(0, 2, 4, 6)
    assert [pool.shape for pool in first] == [(2, 10, 4), (2, 10, 6)]
    assert cache.pools(0, 2, 4, 6) is first
    assert cache.pools(1, 1, 4, 4)[0].shape == (1, 10, 4)


@pytest.mark.parametrize(
    ("quantization", "asked", "kept"),
    [
        ("none", "auto", torch.float32),
        ("int8", "auto", torch.float16),
        ("none", "float16", torch.float16),
        ("int8", "float32", torch.float32),
    ],
)
def test_keys_and_values_are_kept_in_16_bits_on_request_and_beside_8_bits(
    quantization: Quantization, asked: KVCacheDtype, kept: torch.dtype
) -> None:
    dtype = kv_cache_dtype(EngineConfig(quantization=quantization, kv_cache_dtype=asked))
    assert dtype == kept
    assert all(pool.dtype == kept for pool in KVCache(tokens=3, dtype=dtype).pools(0, 1, 4, 4))
