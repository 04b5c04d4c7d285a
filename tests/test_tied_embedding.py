"""An input embedding that is tied to the LM head takes no memory of its own in 8 and 4 bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from inference.engine.compute.formats.int8 import NativeInt8Linear, quantise
from inference.engine.compute.tied_embedding import HeadEmbedding, replace_weights
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.config import WeightDtype
from inference.engine.model_weights import from_checkpoint
from inference.engine.native.kernels import Kernels
from tests.linear_layers import linear_weights
from tests.models import byte_tokenizer, path_or_skip, tiny_of_kind
from tests.native_generations import generations_with_8_bit_products


def model_with(*, tied: bool) -> PreTrainedModel:
    return tiny_of_kind("llama", tie_word_embeddings=tied)


def saved(folder: Path, *, tied: bool) -> Path:
    model_with(tied=tied).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kernels", generations_with_8_bit_products())
@pytest.mark.parametrize(("out_features", "in_features"), [(300, 1000), (64, 200), (33, 48), (1, 7)])
def test_a_row_is_what_the_head_multiplies_with_and_the_same_bits_among_others(
    kernels: Kernels, out_features: int, in_features: int
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(out_features, in_features)
    linear = linear_weights(weight, input_squares=torch.rand(in_features), is_head=True)
    head = NativeInt8Linear(kernels, WeightMemory(), linear)
    quantised, scales = quantise(weight / head._input_scales)
    ids = torch.randint(out_features, (1, 40))
    embedding = HeadEmbedding(head)
    rows = embedding(ids)
    assert rows.dtype is torch.float32
    assert torch.equal(rows, quantised[ids].float() * scales[ids][..., None] * head._input_scales)
    assert torch.equal(embedding(ids[:, 7:8]), rows[:, 7:8])


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_only_a_tied_embedding_is_replaced(dtype: WeightDtype) -> None:
    build: Any = path_or_skip(dtype).layers.build
    tied, untied = model_with(tied=True), model_with(tied=False)
    embedding: Any = tied.get_input_embeddings()
    assert replace_weights(tied, build, {}) == embedding.weight.nbytes
    assert not [name for name, tensor in tied.named_parameters() if tensor.dim() > 1]
    own: Any = untied.get_input_embeddings()
    assert replace_weights(untied, build, {}) == 0
    assert untied.get_input_embeddings() is own


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_wider_formats_keep_the_embedding(dtype: WeightDtype) -> None:
    model = model_with(tied=True)
    own: Any = model.get_input_embeddings()
    build: Any = path_or_skip(dtype).layers.build
    assert replace_weights(model, build, {}) == 0
    assert model.get_input_embeddings() is own


def test_the_size_of_the_weights_has_a_tied_embedding_once(tmp_path: Path) -> None:
    path = path_or_skip("int8")
    sizes = {
        tied: from_checkpoint(saved(tmp_path / str(tied), tied=tied), dtype=torch.float32, path=path).size
        for tied in (True, False)
    }
    embedding: Any = model_with(tied=True).get_input_embeddings()
    assert sizes[False] - sizes[True] == embedding.weight.nbytes
