"""A model's layers in one native call: they compute what their own code does, or are left to it."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from inference.engine.blocks import blocks_of
from inference.engine.compute.attention import AttentionBatch
from inference.engine.compute.layer_program.module import NativeLayers, layer_program_off, replace_layers
from inference.engine.compute.layer_program.recorder import NotRecordable
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.tensor_cache import TensorCache
from inference.engine.kv_cache import KVCache
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment
from tests.models import KINDS, prepared, tiny_of_kind

WIDTH = 48


@pytest.fixture
def kernels() -> Kernels:
    loaded = native.load()
    if loaded is None:
        pytest.skip("the native kernels were not built here")
    return loaded


def logits(model: LanguageModel) -> torch.Tensor:
    """Of a prompt beside a token of another text, and of the token after it."""
    blocks, other = model.blocks.take(blocks_of(41)), model.blocks.take(blocks_of(3))
    assert blocks
    assert other
    model.forward([Segment([5, 6], 0, other)])
    first = model.forward([Segment(list(range(40)), 0, blocks), Segment([7], 2, other)])
    return torch.cat([first, model.forward([Segment([40], 40, blocks)])])


def is_recorded(model: LanguageModel) -> bool:
    return any(isinstance(module, NativeLayers) for module in model._model.modules())


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", KINDS)
def test_they_compute_what_their_own_code_does(kind: str) -> None:
    recorded = prepared(tiny_of_kind(kind, **KINDS[kind]), kv_cache_tokens=256)
    assert is_recorded(recorded)
    assert recorded.reproducible

    with layer_program_off():
        one_by_one = prepared(tiny_of_kind(kind, **KINDS[kind]), kv_cache_tokens=256)
    assert not is_recorded(one_by_one)
    torch.testing.assert_close(logits(recorded), logits(one_by_one), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("kernels")
def test_what_no_program_can_do_is_left_to_the_layers_own_code(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = prepared(tiny_of_kind("gpt_neox"), kv_cache_tokens=256)
    assert not is_recorded(model)
    assert model.reproducible
    assert "The layers of this kind of model are called one by one: aten." in caplog.text
    assert logits(model).isfinite().all()


@pytest.mark.usefixtures("kernels")
def test_a_model_loaded_while_another_computes_is_recorded_all_the_same() -> None:
    other = prepared(tiny_of_kind("gpt2"), kv_cache_tokens=256)
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            other.forward([Segment([1, 2, 3], 0, [0])])

    computing = threading.Thread(target=compute)
    computing.start()
    try:
        model = prepared(tiny_of_kind("llama"), kv_cache_tokens=256)
    finally:
        over.set()
        computing.join()
    assert is_recorded(model)


class Layer(nn.Module):
    """Every operator that a program knows, on views of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.scale = nn.Parameter(torch.randn(WIDTH))

    def forward(self, hidden: torch.Tensor, angles: torch.Tensor, batch: AttentionBatch) -> torch.Tensor:
        heads = self.norm(hidden).view(1, -1, 4, WIDTH // 4).transpose(1, 2)
        low, high = heads.chunk(2, dim=-1)
        turned = heads * angles[:, None] + torch.cat((-high, low), dim=-1)
        pairs = torch.stack((low, high), dim=-1).view_as(heads)
        mixed = (turned - pairs / 3).transpose(1, 2).reshape(hidden.shape)
        squares = mixed.pow(2).mean(-1, keepdim=True)
        normed = (mixed * torch.rsqrt(squares + 1e-6)).relu() * (1.0 + self.scale)
        result: torch.Tensor = hidden + 0.5 * normed
        return result


class Stack(nn.Module):
    """What a model is to its layers."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, hidden: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        batch = AttentionBatch(TensorCache(KVCache(blocks=1), torch.device("cpu")), [], None)
        for layer in self.layers:
            hidden = layer(hidden, angles, batch=batch)
        return hidden


def rows_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    hidden, angles = torch.randn(1, 600, WIDTH), torch.randn(1, 600, WIDTH // 4)
    return hidden[:, :count].clone(), angles[:, :count].clone()


def replaced(layers: list[nn.Module], kernels: Kernels) -> Stack:
    stack = Stack(layers)

    def compute(rows: int) -> torch.Tensor:
        result: torch.Tensor = stack(*rows_of(rows))
        return result

    with torch.no_grad():
        replace_layers(stack, len(layers), kernels, compute, tolerance=1e-4)
    return stack


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_operator_is_pytorch_s_and_a_row_the_same_bits_among_others(
    kernels: Kernels, threads: int
) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [Layer(), Layer()]
    program, own = replaced(layers, kernels), Stack(layers)
    kernels.threads = threads
    with torch.no_grad():
        alone = torch.cat([program(*(t[:, i : i + 1] for t in rows_of(7))).clone() for i in range(7)], dim=1)
        for rows in (1, 2, 7, 33, 600):
            computed = program(*rows_of(rows))
            torch.testing.assert_close(computed, own(*rows_of(rows)))
            assert torch.equal(computed[:, :7], alone[:, :rows])


def test_they_are_replaced_again_after_the_layer_program_was_off(kernels: Kernels) -> None:
    with layer_program_off(), pytest.raises(NotRecordable, match="turned off"):
        replaced([Layer()], kernels)
    assert isinstance(replaced([Layer()], kernels).layers[0], NativeLayers)


def in_place(hidden: torch.Tensor) -> torch.Tensor:
    return hidden.clone().add_(1)


def depends_on_the_count(hidden: torch.Tensor) -> torch.Tensor:
    return hidden / hidden.shape[1] if hidden.shape[1] > 3 else hidden * 2


def takes_the_count(hidden: torch.Tensor) -> torch.Tensor:
    return hidden * float(hidden.shape[1])


def adds_rows_up(hidden: torch.Tensor) -> torch.Tensor:
    return hidden + hidden.mean(1, keepdim=True)


def adds_all_up(hidden: torch.Tensor) -> torch.Tensor:
    return hidden + torch.mean(hidden, dim=None)


def pairs_of_rows(hidden: torch.Tensor) -> torch.Tensor:
    scores = hidden[:, :, :1] * hidden[:, :, :1].transpose(1, 2)
    return hidden + scores.mean(-1, keepdim=True)


def mean_of_what_is_not_dense(hidden: torch.Tensor) -> torch.Tensor:
    heads = hidden.view(1, -1, 4, WIDTH // 4).transpose(2, 3)
    return (hidden.view_as(heads) + 0.01 * heads.mean(-1, keepdim=True)).reshape(hidden.shape)


def norm_by_one_number(hidden: torch.Tensor) -> torch.Tensor:
    return hidden + 0.01 * nn.functional.layer_norm(hidden, (WIDTH,), ELSEWHERE[:1].expand(WIDTH))


def reads_from_elsewhere(hidden: torch.Tensor) -> torch.Tensor:
    return hidden + ELSEWHERE


def gives_two(hidden: torch.Tensor) -> Any:
    return hidden + 1, hidden


def gives_its_input(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


def gives_a_part(hidden: torch.Tensor) -> torch.Tensor:
    return torch.stack([hidden * 1.001, hidden * 1.002])[1]


def passes(hidden: torch.Tensor, count: list[int] = []) -> torch.Tensor:  # noqa: B006 — does something else each time
    count.append(1)
    return hidden + len(count)


def casts(hidden: torch.Tensor) -> torch.Tensor:
    return (hidden.double() + 1).float()


def far_rows_differ(hidden: torch.Tensor) -> torch.Tensor:
    return hidden * 1.01 if hidden.shape[1] > 5 else hidden * 1.0


class Wrong(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, hidden: torch.Tensor, angles: torch.Tensor, batch: AttentionBatch) -> Any:
        return self._function(hidden)


ELSEWHERE = torch.ones(WIDTH)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (in_place, "changes its input"),
        (depends_on_the_count, "something different for another number of rows"),
        (takes_the_count, "different constants for another number of rows"),
        (adds_rows_up, "aten.mean.dim"),
        (adds_all_up, "aten.mean"),
        (pairs_of_rows, "does not grow linearly with the rows"),
        (mean_of_what_is_not_dense, "aten.mean.dim"),
        (norm_by_one_number, "a norm with weights that are not dense"),
        (reads_from_elsewhere, "read a tensor that is neither an input nor their own"),
        (gives_two, "something other than one tensor"),
        (gives_its_input, "does not return a dense tensor that it computed"),
        (gives_a_part, "does not return a dense tensor that it computed"),
        (passes, "different constants for another number of rows"),
        (casts, "aten._to_copy"),
        (far_rows_differ, "the program computes something else"),
    ],
)
def test_layers_that_no_program_can_do_are_refused_and_left_as_they_were(
    kernels: Kernels, function: Callable[[torch.Tensor], Any], reason: str
) -> None:
    layer = Wrong(function)
    stack = Stack([layer])

    def compute(rows: int) -> torch.Tensor:
        result: Any = stack(*rows_of(rows))
        return torch.as_tensor(result[0] if isinstance(result, tuple) else result)

    with torch.no_grad(), pytest.raises(NotRecordable, match=reason):
        replace_layers(stack, 1, kernels, compute, tolerance=1e-4)
    assert list(stack.layers) == [layer]
    assert kernels.listener is None


def test_a_model_whose_code_wants_more_of_its_layers_keeps_them(kernels: Kernels) -> None:
    class Curious(Stack):
        def forward(self, hidden: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
            assert isinstance(self.layers[0], Layer)
            return super().forward(hidden, angles)

    layers: list[nn.Module] = [Layer(), Layer()]
    stack = Curious(layers)
    with torch.no_grad(), pytest.raises(NotRecordable, match="the model's code uses more of them"):
        replace_layers(stack, 2, kernels, lambda rows: stack(*rows_of(rows)), tolerance=1e-4)
    assert list(stack.layers) == layers
