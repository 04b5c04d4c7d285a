"""Packed weights lie side by side, as they were given."""

import gc
import mmap
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.compute import weight_tensors
from inference.engine.compute.weight_tensors import WeightMemory


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([torch.float32, torch.uint8]), st.integers(1, 40), st.integers(1, 40)),
        max_size=20,
    )
)
def test_each_tensor_is_kept_as_it_was(shapes: list[tuple[torch.dtype, int, int]]) -> None:
    memory = WeightMemory()
    given_ = [(torch.rand(a, b) * 255).to(dtype).t() for dtype, a, b in shapes]
    kept = [memory.empty(tensor.shape, tensor.dtype).copy_(tensor) for tensor in given_]
    for tensor, copy in zip(given_, kept, strict=True):
        assert torch.equal(copy, tensor)
        assert copy.is_contiguous()
        assert copy.data_ptr() % 64 == 0


def test_a_tensor_that_is_larger_than_a_chunk_gets_its_own() -> None:
    memory = WeightMemory()
    small, large = torch.arange(10), torch.arange(weight_tensors._CHUNK // 8 + 1)
    first, second, third = (memory.empty(t.shape, t.dtype).copy_(t) for t in (small, large, small))
    assert torch.equal(first, small)
    assert torch.equal(second, large)
    assert torch.equal(third, small)


def test_memory_is_given_back_with_the_last_tensor_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mappings: list[weakref.ref[mmap.mmap]] = []

    class Mapping(mmap.mmap):
        def __init__(self, *_: object, **__: object) -> None:
            mappings.append(weakref.ref(self))

    monkeypatch.setattr(mmap, "mmap", Mapping)
    memory = WeightMemory()
    first, second = (memory.empty((1000,), torch.float32) for _ in range(2))
    del memory, first
    gc.collect()
    (mapping,) = mappings
    assert mapping() is not None
    del second
    gc.collect()
    assert mapping() is None


def test_a_system_without_huge_pages_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mapping(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Mapping)
    assert WeightMemory().empty((3,), torch.float32).shape == (3,)
