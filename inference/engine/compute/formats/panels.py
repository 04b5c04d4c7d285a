"""The layout of weights in panels, as the native kernels read them (`native/panels.h`)."""

import torch
from torch.nn.functional import pad

from inference.engine.native.abi import PANEL


def in_panels(weight: torch.Tensor) -> torch.Tensor:
    """`[out, in, ...]` as `[panels, in, PANEL, ...]`, the last panel padded with zeros; not dense."""
    panels: torch.Tensor = whole_panels(weight).unflatten(0, (-1, PANEL))
    return panels.transpose(1, 2)


def whole_panels(channels: torch.Tensor) -> torch.Tensor:
    """`[out, ...]`, padded with zeros to whole panels. A vector is always copied."""
    missing = -channels.shape[0] % PANEL
    if not missing:
        return channels.clone() if channels.dim() == 1 else channels
    return pad(channels, (*[0, 0] * (channels.dim() - 1), 0, missing))
