import pytest

from inference.engine.compute.formats import FORMATS
from inference.engine.config import KVCacheDtype, WeightDtype
from inference.engine.kv_cache import CachedLayer, KVCache, kv_cache_dtype
from inference.engine.memory import anonymous_memory

LAYERS = [CachedLayer(number, 2, 16, 16) for number in range(60)]


def test_each_layer_has_pools_of_its_own_shape() -> None:
    cache = KVCache(blocks=10)
    layers = [CachedLayer(0, 2, 4, 40), CachedLayer(1, 1, 4, 4)]
    first, second = cache.pools(layers)
    assert [pool.shape for pool in first] == [(10, 2, 4, 16), (10, 2, 16, 48)]
    assert [pool.shape for pool in second] == [(10, 1, 4, 16), (10, 1, 16, 16)]
    (again,) = cache.pools(layers[1:])
    assert again is second


def test_blocks_of_many_layers_share_no_memory() -> None:
    pools = [pool for pair in KVCache(blocks=40).pools(LAYERS) for pool in pair]
    for number, pool in enumerate(pools):
        pool.fill(number)
    assert all((pool == number).all() for number, pool in enumerate(pools))


def test_a_small_cache_takes_about_its_own_size() -> None:
    cache = KVCache(blocks=2)
    before = anonymous_memory()
    for layer in LAYERS:
        for pool in cache.pools([layer])[0]:
            pool.fill(1.0)
    # A huge page for each pool would take 240 MB for these 0.5 MB.
    assert anonymous_memory() - before < 40e6


def test_few_blocks_of_a_large_cache_take_about_their_own_size() -> None:
    pools = KVCache(blocks=20_000).pools(LAYERS)
    before = anonymous_memory()
    for pool in (pool for pair in pools for pool in pair):
        pool[:8] = 1.0
    # A huge page for each pool would take 240 MB for these 2 MB.
    assert anonymous_memory() - before < 40e6


@pytest.mark.parametrize(
    ("weights", "asked", "kept"),
    [
        ("auto", "auto", "float32"),
        ("int8", "auto", "float16"),
        ("bfloat16", "auto", "float16"),
        ("auto", "float16", "float16"),
        ("int8", "float32", "float32"),
        ("auto", "int8", "int8"),
    ],
)
def test_keys_and_values_are_narrow_on_request_and_with_narrow_weights(
    weights: WeightDtype, asked: KVCacheDtype, kept: str
) -> None:
    dtype = kv_cache_dtype(asked, FORMATS[weights], native=True)
    assert dtype == kept
    (pools,) = KVCache(blocks=3, dtype=dtype).pools([CachedLayer(0, 1, 4, 4)])
    assert all(pool.dtype == kept for pool in pools)


def test_a_layer_that_is_used_alone_lies_dense() -> None:
    cache = KVCache(blocks=40)
    for layer in LAYERS[:3]:
        (pools,) = cache.pools([layer])
        assert all(pool.flags.c_contiguous for pool in pools)
