"""Benchmarks of single steps compute the model that is served."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.served_model import decode_step, packed_weights_of, served_model
from inference.engine.blocks import BLOCK
from inference.engine.compute.compiled.model import CompiledModel
from inference.engine.compute.model import LanguageModel
from inference.engine.config import EngineConfig
from inference.engine.native import kernels
from tests.models import save_tiny_model

CONFIG = EngineConfig(device="cpu", kv_cache_tokens=4 * BLOCK, threads=1)


@pytest.mark.skipif(kernels.load() is None, reason="only native kernels compute compiled models")
@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_it_is_compiled_unless_its_layers_are_called_one_by_one(shape: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny", shape=shape)
    first, warm = served_model(folder, CONFIG), served_model(folder, CONFIG)
    hooked = served_model(folder, CONFIG, one_by_one=True)
    assert [type(model) for model in (first, warm, hooked)] == [CompiledModel, CompiledModel, LanguageModel]

    logits = [
        np.asarray(model.forward(decode_step(model, requests=2, context=5))).copy()
        for model in (first, warm, hooked)
    ]
    assert np.array_equal(logits[0], logits[1])
    np.testing.assert_allclose(logits[2], logits[0], rtol=1e-4, atol=1e-4)


def test_each_precision_has_its_own_packed_weights_beside_the_model() -> None:
    folder = Path("models") / "tiny"
    precisions = [
        EngineConfig(),
        EngineConfig(dtype="int8"),
        EngineConfig(dtype="int8", kv_cache_dtype="int8"),
    ]
    assert [packed_weights_of(folder, precision) for precision in precisions] == [
        Path("models/weights/auto"),
        Path("models/weights/int8"),
        Path("models/weights/int8-int8"),
    ]
