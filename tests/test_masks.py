"""What masks say, with the native kernels and without."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.grammar.masks import RawMasks, read_masks
from inference.engine.native import kernels as native
from inference.engine.token_set import TokenSet
from tests.examples import examples

SIZES = st.integers(1, 200)


def raw(rows: list[set[int]], size: int) -> RawMasks:
    """Masks of these tokens, the one behind the last of which is the end."""
    return np.stack(
        [TokenSet.of(row, vocabulary_size=size + 1).words[: size // 32 + 1] for row in rows]
    ).view(np.int32)


@settings(max_examples=examples(100))
@given(st.data(), SIZES)
@pytest.mark.parametrize("kind", ["numpy", "native"])
def test_a_mask_says_what_may_come(kind: str, data: st.DataObject, size: int) -> None:
    kernels = native.load()
    if kind == "native" and kernels is None:
        pytest.skip("the native kernels were not built")
    read = kernels.read_masks if kind == "native" and kernels else read_masks
    few = st.one_of(st.sets(st.integers(0, size), max_size=2), st.sets(st.integers(0, size)))
    rows = data.draw(st.lists(few, min_size=1, max_size=5), label="rows")
    readable = data.draw(st.sets(st.integers(0, size - 1)), label="readable")
    control = st.one_of(st.none(), st.integers(0, size - 1))
    controls = data.draw(st.lists(control, min_size=len(rows), max_size=len(rows)), label="controls")
    masks = read(raw(rows, size), TokenSet.of(readable, vocabulary_size=size), controls)
    assert len(masks) == len(rows)
    for mask, row, control_id in zip(masks, rows, controls, strict=True):
        expected = sorted(row & (readable | ({control_id} - {None})))
        assert mask.tokens.ids.tolist() == expected
        assert len(mask.tokens) == len(expected)
        assert mask.ends == (size in row)
        assert mask.only == (expected[0] if len(expected) == 1 and not mask.ends else None)
