import pytest
import torch

from inference.engine.compute.formats import FORMATS
from inference.engine.config import KVCacheDtype, WeightDtype
from inference.engine.kv_cache import KVCache, kv_cache_dtype


def test_each_layer_has_pools_of_its_own_shape() -> None:
    cache = KVCache(blocks=10)
    first = cache.pools(0, 2, 4, 40)
    assert [pool.shape for pool in first] == [(10, 2, 4, 16), (10, 2, 16, 48)]
    assert cache.pools(0, 2, 4, 40) is first
    assert cache.pools(1, 1, 4, 4)[0].shape == (10, 1, 4, 16)


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
