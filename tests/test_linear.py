import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from inference.engine.linear import LEAST_ROWS, PackedLinear, replace_linears

# GPT-2 medium's and the quick-start model's, and odd ones
SHAPES = [(3072, 1024), (1024, 4096), (576, 1536), (192, 576), (33, 48), (1, 7)]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("out_features", "in_features"), SHAPES)
def test_a_row_is_the_same_bits_alone_and_among_others(
    out_features: int, in_features: int, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    layer = PackedLinear(torch.randn(out_features, in_features), torch.randn(out_features))
    rows = torch.randn(300, in_features)
    alone = torch.cat([layer(row.expand(LEAST_ROWS, -1))[:1] for row in rows[:20]])
    for count in (LEAST_ROWS, 8, 15, 16, 17, 33, 64, 100, 300):
        assert torch.equal(layer(rows[:count])[:20], alone[:count])
    assert torch.equal(layer(rows[7:60])[:10], alone[7:17])
    torch.set_num_threads(before)


def test_packed_layers_compute_what_the_model_s_own_compute() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 96), nn.ReLU(), Conv1D(33, 96), nn.Linear(33, 5, bias=False))
    nn.init.normal_(model[2].weight)  # type: ignore[arg-type]
    rows = torch.randn(4, 7, 48)
    with torch.inference_mode():
        expected = model(rows)
        assert replace_linears(model, PackedLinear) == 3
        torch.testing.assert_close(model(rows), expected)
    assert not [name for name, _ in model.named_parameters()]
