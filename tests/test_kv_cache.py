import pytest
import torch

from inference.engine.compute.formats import FORMATS
from inference.engine.config import KVCacheDtype, WeightDtype
from inference.engine.kv_cache import KVCache, kv_cache_dtype
from inference.engine.memory import anonymous_memory


def test_each_layer_has_pools_of_its_own_shape() -> None:
    cache = KVCache(blocks=10)
    first = cache.pools(0, 2, 4, 40)
    assert [pool.shape for pool in first] == [(10, 2, 4, 16), (10, 2, 16, 48)]
    assert cache.pools(0, 2, 4, 40) is first
    assert cache.pools(1, 1, 4, 4)[0].shape == (10, 1, 4, 16)


def test_a_small_cache_takes_about_its_own_size() -> None:
    cache = KVCache(blocks=2)
    before = anonymous_memory()
    for layer in range(60):
        for pool in cache.pools(layer, 2, 16, 16):
            pool.fill_(1.0)
    # A huge page for each pool would take 240 MB for these 0.5 MB.
    assert anonymous_memory() - before < 40e6


@pytest.mark.parametrize(
    ("weights", "asked", "kept"),
    [
        ("auto", "auto", torch.float32),
        ("int8", "auto", torch.float16),
        ("bfloat16", "auto", torch.float16),
        ("auto", "float16", torch.float16),
        ("int8", "float32", torch.float32),
        ("auto", "int8", torch.int8),
    ],
)
def test_keys_and_values_are_narrow_on_request_and_with_narrow_weights(
    weights: WeightDtype, asked: KVCacheDtype, kept: torch.dtype
) -> None:
    dtype = kv_cache_dtype(asked, FORMATS[weights], native=True)
    assert dtype == kept
    assert all(pool.dtype == kept for pool in KVCache(blocks=3, dtype=dtype).pools(0, 1, 4, 4))
