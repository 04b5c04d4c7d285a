"""The binding of the kernel that reads masks: `grammar.masks.read_masks`, some ten times as fast."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.engine.grammar.masks import Mask, RawMasks, ReadMasks
from inference.engine.native.abi import MasksCall
from inference.engine.native.address import address
from inference.engine.token_set import TokenSet


def native_read_masks(library: ctypes.CDLL) -> ReadMasks:
    """The reading of masks of a library of kernels."""
    # It keeps Python's lock, as the draw does.
    function: Any = ctypes.PyDLL(library._name, handle=library._handle).read_masks
    function.argtypes, function.restype = [ctypes.POINTER(MasksCall)], None

    def read_masks(masks: RawMasks, readable: TokenSet, control_ids: Sequence[int | None]) -> list[Mask]:
        size = readable.vocabulary_size
        controls = None
        if any(control_id is not None for control_id in control_ids):
            controls = np.array([-1 if one is None else one for one in control_ids], dtype=np.int64)
        read = np.empty((len(masks), 3), dtype=np.int64)
        function(
            MasksCall(
                masks=address(masks),
                readable=address(readable.words),
                control_ids=None if controls is None else address(controls),
                read=address(read),
                count=len(masks),
                words=masks.shape[1],
                end=size,
            )
        )
        return [
            Mask(TokenSet(words, size, tokens), None if only < 0 or ends else only, bool(ends))
            for words, (tokens, only, ends) in zip(masks.view(np.uint32), read.tolist(), strict=True)
        ]

    return read_masks
