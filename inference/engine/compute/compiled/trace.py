"""From a Hugging Face model to a compiled one: layers and LM head are recorded, their inputs recognised.

What the layers are given is not recorded but found by trying: the model's own code computes it for tokens and
positions from everywhere, and whatever gives the same numbers for all of them takes its place.
"""

from collections.abc import Callable, Iterator
from itertools import chain, product
from typing import Any, get_args

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from inference.engine.compute.compiled.inputs import Embedding, Function, LayerInput, Layout, Rotary
from inference.engine.compute.compiled.model import Compiled
from inference.engine.compute.compiled.tables import Floats, Integers, PackedRows, Table
from inference.engine.compute.formats.int8 import NativeInt8Linear
from inference.engine.compute.layer_program.compiler import compile_passes
from inference.engine.compute.layer_program.module import constants, layer_inputs, stack_of
from inference.engine.compute.layer_program.recorder import NotRecordable
from inference.engine.compute.layer_program.recording import RECORDED_ROWS, Pass, PassRecording
from inference.engine.compute.narrow_weights import WidenedEmbedding
from inference.engine.compute.tied_embedding import HeadEmbedding
from inference.engine.compute.tried_tokens import tried_tokens
from inference.engine.native.kernels import Kernels

_TRIED = 61
"""Tokens and positions that the inputs are tried with."""
_FREQUENCIES, _SCALING = "inv_freq", "attention_scaling"
"""How transformers names what rotary positions have, some of them after the kind of their layers."""
_TOLERANCE = 1e-6
"""Of cosines and sines, which PyTorch computes in float32."""


class _Given(Exception):
    """What the layers are given has been noted."""


def compile_model(
    model: PreTrainedModel,
    kernels: Kernels,
    *,
    context_length: int,
    vocabulary_size: int,
    compute: Callable[[int], object],
) -> Compiled:
    """What `model` computes, as native programs. The model itself stays as it is.

    Args:
        model: hooked, its linear layers native.
        compute: runs the model for that number of rows, all of whose logits are kept.

    Raises:
        NotRecordable: no program can do what the model does.
    """
    count = model.config.get_text_config().num_hidden_layers
    layers = list(stack_of(model, count))
    owned = constants([model])
    try:
        inputs = _recognised(model, layers[0], context_length, vocabulary_size)
        few, many = (_record(model, layers[0], kernels, compute, rows) for rows in RECORDED_ROWS)
        programs = [compile_passes(a, b, constants=owned) for a, b in zip(few, many, strict=True)]
    except NotRecordable:
        raise
    except Exception as error:
        raise NotRecordable(repr(error)) from error
    return Compiled(inputs=inputs, layers=programs[0], head=programs[1], owner=model)


def _record(
    model: PreTrainedModel,
    first: nn.Module,
    kernels: Kernels,
    compute: Callable[[int], object],
    rows: int,
) -> tuple[Pass, Pass]:
    """From the first layer to the last hidden states, and from the LM head's input to the logits."""
    head: Any = model.get_output_embeddings()
    owner = _owner(model, first)
    if head is None:
        raise NotRecordable("they have no LM head")
    with PassRecording(kernels, rows=rows) as recording:
        recording.hooks += [
            first.register_forward_pre_hook(
                lambda _, args, kwargs: recording.begin(layer_inputs(args, kwargs)), with_kwargs=True
            ),
            owner.register_forward_hook(lambda _, args, output: recording.end(output[0])),
            head.register_forward_pre_hook(lambda _, args: recording.begin([args[0].contiguous()])),
            model.register_forward_hook(lambda _, args, output: recording.end(output.logits)),
        ]
        compute(rows)
    if len(recording.passes) != 2:
        raise NotRecordable("their code calls the layers or the LM head more than once")
    return recording.passes[0], recording.passes[1]


def _owner(model: nn.Module, first: nn.Module) -> nn.Module:
    """The module whose code calls the layers and what follows them, such as the last norm."""
    return next(
        module
        for module in model.modules()
        for child in module.children()
        if isinstance(child, nn.ModuleList) and len(child) > 0 and child[0] is first
    )


def _recognised(
    model: PreTrainedModel, first: nn.Module, context_length: int, vocabulary_size: int
) -> list[LayerInput]:
    """What gives the layers' inputs, in order."""
    token_ids = np.array(tried_tokens(_TRIED, vocabulary_size=vocabulary_size), dtype=np.int64)
    steps = np.linspace(0, context_length - 1, _TRIED).astype(np.int64)
    positions = np.random.default_rng(0).permutation(steps)
    found: list[LayerInput] = []
    candidates: Iterator[LayerInput]
    for given in _given(model, first, token_ids, positions):
        numbers = given.reshape(_TRIED, -1)
        candidates = chain(
            _rotaries(model, numbers.shape[1], context_length),
            _embeddings(model, numbers, token_ids, context_length),
        )
        one = next((one for one in candidates if _gives(one, numbers, token_ids, positions)), None)
        if one is None:
            raise NotRecordable("the layers are given more than embeddings and rotary positions")
        found.append(one)
    return found


@torch.no_grad()
def _given(
    model: PreTrainedModel, first: nn.Module, token_ids: Integers, positions: Integers
) -> list[Floats]:
    """The floating-point tensors that the first layer is given."""
    noted: list[Floats] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for tensor in layer_inputs(args, kwargs):
            if tensor.dtype is not torch.float32 or tensor.shape[:2] != (1, _TRIED) or tensor.dim() != 3:
                raise NotRecordable("they are given a tensor of another shape")
            noted.append(tensor.numpy().copy())
        raise _Given

    hook = first.register_forward_pre_hook(note, with_kwargs=True)
    ids: Any = torch.from_numpy(token_ids)[None]
    try:
        model(input_ids=ids, position_ids=torch.from_numpy(positions)[None], use_cache=False, batch=None)
    except _Given:
        return noted
    finally:
        hook.remove()
    raise NotRecordable("their code does not call the first of them")


def _gives(candidate: LayerInput, given: Floats, token_ids: Integers, positions: Integers) -> bool:
    computed = candidate.rows(token_ids, positions)
    if computed.shape != given.shape:
        return False
    if isinstance(candidate, Rotary):
        return bool(np.abs(computed - given).max() <= _TOLERANCE * max(1.0, abs(candidate.scaling)))
    return bool(np.array_equal(computed, given))


def _rotaries(model: nn.Module, width: int, context_length: int) -> Iterator[Rotary]:
    """The rotary positions that the model may have, with rows of this width."""
    for module in model.modules():
        for name, frequencies in module.named_buffers(recurse=False):
            if not name.endswith(_FREQUENCIES) or frequencies.dim() != 1:
                continue
            count = len(frequencies)
            layouts: dict[Layout, int] = {"halves": 2 * count, "pairs": 2 * count, "once": count}
            for layout, function in product(layouts, get_args(Function)):
                if layouts[layout] == width:
                    yield Rotary(
                        frequencies=frequencies.detach().float().numpy(),
                        scaling=float(getattr(module, name.replace(_FREQUENCIES, _SCALING), 1.0)),
                        function=function,
                        layout=layout,
                        context_length=context_length,
                    )


def _embeddings(
    model: PreTrainedModel, given: Floats, token_ids: Integers, context_length: int
) -> Iterator[Embedding]:
    """The embeddings that the model may have, if they give these numbers."""
    module: Any = model.get_input_embeddings()
    tokens = _rows(module)
    yield Embedding(tokens=tokens)
    plain = tokens.rows(token_ids)
    if plain.shape == given.shape and plain.any():
        # A quotient is rounded, but mostly to the factor.
        quotients, counts = np.unique(given[plain != 0] / plain[plain != 0], return_counts=True)
        yield Embedding(tokens=tokens, scale=float(quotients[counts.argmax()]))
    for other in model.modules():
        if isinstance(other, nn.Embedding) and other is not module and other.embedding_dim == plain.shape[1]:
            weight: Any = other.weight
            for offset in {0, len(weight) - _positions(model)}:
                if 0 <= offset <= len(weight) - context_length:
                    yield Embedding(tokens=tokens, positions=Table(_array(weight)), offset=offset)


def _positions(model: PreTrainedModel) -> int:
    """How many positions the model's configuration names."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0))


def _rows(module: Any) -> Table | PackedRows:
    """The rows of an input embedding."""
    if isinstance(module, HeadEmbedding) and isinstance(module.head, NativeInt8Linear):
        head = module.head
        return PackedRows(*map(_array, (head._weight, head._scales, head._input_scales)))
    if isinstance(module, nn.Embedding | WidenedEmbedding):
        return Table(_array(module.weight))
    raise NotRecordable(f"an embedding of the kind {type(module).__name__}")


def _array(tensor: torch.Tensor) -> Any:
    """The same memory as an array of NumPy, which has no bfloat16."""
    plain = tensor.detach()
    return (plain.view(torch.uint16) if plain.dtype is torch.bfloat16 else plain).numpy()
