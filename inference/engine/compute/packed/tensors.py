"""Tensors of PyTorch in the memory that a file of tensors was read into."""

import numpy as np
import torch
from numpy.typing import NDArray

from inference.engine.compute.packed.tensor_file import Reference


def tensor_at(memory: NDArray[np.uint8], reference: Reference) -> torch.Tensor:
    """The tensor of a reference, as a view of the memory that the file was read into."""
    dtype: torch.dtype = getattr(torch, reference["dtype"])
    shape: list[int] = reference["shape"]
    size = dtype.itemsize
    for dimension in shape:
        size *= dimension
    # All are views of one storage, as the recorder of layers knows what does not change by its storage.
    return torch.from_numpy(memory)[reference["offset"] :][:size].view(dtype).view(shape)
