"""Tensors of PyTorch and of NumPy in a file."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.engine.compute.packed import shared_memory, tensor_file
from inference.engine.compute.packed.tensor_file import Damaged, TensorFile, TensorWriter, array_at
from inference.engine.compute.packed.tensors import tensor_at
from inference.engine.compute.weight_memory import huge_pages

TENSORS = [
    torch.randn(7, 5),
    torch.randn(7, 5).t(),
    torch.randn(33).bfloat16(),
    torch.randn(3, 2).half()[1:],
    torch.arange(9),
    torch.tensor(2.5),
    torch.tensor([True, False]),
    torch.empty(0, 3),
    torch.randint(0, 256, (4, 4), dtype=torch.uint8)[:, ::2],
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def written(path: Path, tensors: list[Any]) -> TensorFile:
    with path.open("w+b") as file:
        writer = TensorWriter(file)
        writer.finish({"references": [writer.add(tensor) for tensor in tensors]})
    return TensorFile(path)


def test_tensors_come_back_as_they_were(path: Path) -> None:
    file = written(path, TENSORS)
    memory = huge_pages(file.size)
    file.read_into(memory)
    for tensor, reference in zip(TENSORS, file.description["references"], strict=True):
        read = tensor_at(memory, reference)
        assert torch.equal(read, tensor)
        assert read.dtype == tensor.dtype
        array = array_at(memory, reference)
        bits = tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor
        assert np.array_equal(array, bits.numpy())
        assert array.shape == tuple(tensor.shape)
        assert array.size == 0 or np.shares_memory(array, memory)


def test_numpy_s_arrays_are_written_as_the_same_tensors_are(path: Path, tmp_path: Path) -> None:
    tensors = [tensor for tensor in TENSORS if tensor.dtype is not torch.bfloat16]
    written(path, tensors)
    written(tmp_path / "other", [tensor.numpy() for tensor in tensors])
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_equal_views_of_the_same_memory_are_written_once(path: Path) -> None:
    tensor, array = torch.arange(64), np.arange(64)
    with path.open("w+b") as file:
        writer = TensorWriter(file)
        for one in (tensor, array):
            first = writer.add(one, shared=True)
            assert writer.add(one[:], shared=True) is first
            assert writer.add(one[:32], shared=True) is not first
            assert writer.add(one) is not first


def test_memory_that_nothing_may_change_gives_tensors_without_a_warning(path: Path) -> None:
    file = written(path, TENSORS)
    try:
        memory = shared_memory.create("test", file.size, file.read_into).content
    except shared_memory.NoHugePages as reason:
        pytest.skip(str(reason))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tensor, reference in zip(TENSORS, file.description["references"], strict=True):
            assert torch.equal(tensor_at(memory, reference), tensor)


@pytest.mark.parametrize("changed", [0, 1 << 20, (1 << 25) + 5, (1 << 25) + (1 << 20) + 3])
def test_a_changed_number_is_noticed_wherever_it_is(path: Path, changed: int) -> None:
    size = (1 << 25) + (1 << 20) + 64
    file = written(path, [np.zeros(size, dtype=np.uint8)])
    file.read_into(huge_pages(size))
    with path.open("r+b") as content:
        content.seek(changed)
        content.write(b"\1")
    with pytest.raises(Damaged, match="weights have changed"):
        TensorFile(path).read_into(huge_pages(size))


def test_an_empty_file_is_whole(path: Path) -> None:
    file = written(path, [])
    assert file.size == 0
    file.read_into(huge_pages(1))


def test_sums_wrap_around() -> None:
    numbers = np.full(tensor_file._CHECKED // 8 + 1, 2**63 - 1, dtype=np.int64)
    many = tensor_file._CHECKED // 8
    assert tensor_file._checksums(numbers.view(np.uint8)) == [-many, 2**63 - 1]
