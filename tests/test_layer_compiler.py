"""Programs of layers: what is done to the results of a linear layer part by part, and in place."""

import pytest
import torch

from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.config import WeightDtype
from inference.engine.native import kernels as native
from tests.models import path_or_skip, prepared, tiny_of_kind
from tests.test_layer_program import logits

pytestmark = pytest.mark.skipif(native.load() is None, reason="the native kernels were not built here")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_follows_a_linear_layer_has_the_same_bits_done_part_by_part(
    kind: str, dtype: WeightDtype
) -> None:
    model = prepared(tiny_of_kind(kind), kv_cache_tokens=256, path=path_or_skip(dtype))
    (layers,) = (module for module in model._model.modules() if isinstance(module, NativeLayers))
    instructions = layers._program.instructions
    assert any(instruction.follows for instruction in instructions)
    part_by_part = logits(model)
    for instruction in instructions:
        instruction.follows = False
    assert torch.equal(logits(model), part_by_part)
