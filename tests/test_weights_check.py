"""Files that do not belong together, or are damaged, stop the start with the names of the weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.loader import load_engine
from tests.models import SHAPES, byte_tokenizer, save_tiny_model, tiny_gpt2

Weights = dict[str, torch.Tensor]
FORMATS = ("safetensors", "bin")


@pytest.fixture(params=FORMATS)
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """A model's folder in either format of weights, after `change` was done to them."""

    def save(change: Callable[[Weights], object] = lambda _: None, *, shape: str = "gpt2") -> Path:
        folder = save_tiny_model(tmp_path / "model", shape=shape)
        weights = load_file(folder / "model.safetensors")
        change(weights)
        if request.param == "bin":
            (folder / "model.safetensors").unlink()
            torch.save(weights, folder / "pytorch_model.bin")
        else:
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return save


def load(folder: Path) -> None:
    load_engine(folder, name="tiny", config=EngineConfig(kv_cache_tokens=1024, threads=1)).stop()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_with_tied_weights_starts(save: Callable[..., Path], shape: str) -> None:
    load(save(shape=shape))


def test_constants_of_older_checkpoints_are_no_weights(
    save: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    def add(weights: Weights) -> None:
        weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 256, 256)
        weights["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
        weights["transformer.h.1.attn.rotary_emb.inv_freq"] = torch.ones(8)

    load(save(add))
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_weights_without_the_prefix_of_the_whole_model_are_found(save: Callable[..., Path]) -> None:
    def rename(weights: Weights) -> None:
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name)

    load(save(rename))


def test_weights_of_fewer_layers_than_the_configuration_has_stop_the_start(
    save: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save()
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"n_layer": 2', '"n_layer": 12'))
    with pytest.raises(ModelUnavailable) as refused:
        load(folder)
    assert (
        f"The weights in {folder} do not fit its config.json: 120 missing (transformer.h.2.attn.c_attn.bias, "
        "transformer.h.2.attn.c_attn.weight, transformer.h.2.attn.c_proj.bias, "
        "transformer.h.2.attn.c_proj.weight and 116 more)."
    ) in str(refused.value)
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_weights_of_more_layers_than_the_configuration_has_stop_the_start(save: Callable[..., Path]) -> None:
    folder = save()
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"n_layer": 2', '"n_layer": 1'))
    with pytest.raises(ModelUnavailable, match=r"11 not part of the model \(transformer\.h\.1\.attn"):
        load(folder)


def test_weights_of_another_shape_stop_the_start_with_both_shapes(save: Callable[..., Path]) -> None:
    def cut(weights: Weights) -> None:
        weights["transformer.wpe.weight"] = weights["transformer.wpe.weight"][:100].clone()

    with pytest.raises(
        ModelUnavailable,
        match=r"1 of another shape \(transformer\.wpe\.weight \(\[100, 64\] instead of \[256, 64\]\)\)",
    ):
        load(save(cut))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_numbers_are_named(save: Callable[..., Path], value: float) -> None:
    def poison(weights: Weights) -> None:
        weights["transformer.h.1.mlp.c_fc.weight"][3, 5] = value

    with pytest.raises(ModelUnavailable) as refused:
        load(save(poison))
    assert "not finite numbers, in transformer.h.1.mlp.c_fc.weight:" in str(refused.value)
    assert "attention" not in str(refused.value)


def test_weights_in_several_files_are_all_looked_at(tmp_path: Path) -> None:
    tiny_gpt2().save_pretrained(tmp_path, max_shard_size="100KB")
    byte_tokenizer().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    load(tmp_path)
    weights = load_file(shards[-1])
    name = sorted(weights)[-1]
    weights[name].view(-1)[-1] = float("nan")
    save_file(weights, shards[-1], metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=f"in {name}:"):
        load(tmp_path)
