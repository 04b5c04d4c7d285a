"""From a Hugging Face model to a `LanguageModel`: hooks, checks, weights, the layer program."""

import logging
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from inference.engine.compute import attention
from inference.engine.compute.activation import replace_activations
from inference.engine.compute.device_memory import gpu_budget, return_freed_gpu_memory
from inference.engine.compute.input_squares import InputSquares, noted_input_squares
from inference.engine.compute.layer_program.module import replace_layers
from inference.engine.compute.layer_program.recorder import NotRecordable
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.model_limits import context_length, vocabulary_size
from inference.engine.compute.narrow_weights import widened_linears
from inference.engine.compute.path import ComputePath
from inference.engine.compute.probe import Probe
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import KVCache, kv_cache_dtype
from inference.engine.memory import bytes_per_token, kv_cache_blocks, return_freed_memory
from inference.engine.native.kernels import Kernels

logger = logging.getLogger(__name__)

_HOOKS_TOLERANCE = 1e-3
"""The greatest difference between hooked logits and the model's own, relative to their norm."""


class WrongLogits(ModelUnavailable):
    """With its weights in their final form, a model computes something else than its own code."""


@dataclass(frozen=True)
class HookedModel:
    """A model with the engine's attention and activations.

    Attributes:
        expected: the probe's logits by the model's own code, `[2, vocabulary]`.
        vocabulary_size: token ids that it takes and has logits for, from 0.
        input_squares: of its own linear layers, for the probe; empty if nothing is packed from them.
    """

    model: PreTrainedModel
    expected: torch.Tensor
    vocabulary_size: int
    input_squares: InputSquares


def check_hooks(model: PreTrainedModel, path: ComputePath) -> HookedModel:
    """Hook a model in place, and compare its logits with those of its own code.

    Raises:
        ModelUnavailable: they differ, or this architecture cannot be hooked.
    """
    vocabulary = vocabulary_size(model)
    _move(model.eval(), path.device)
    probe = Probe(model, path)
    with widened_linears(model):
        expected, input_squares = _hook(model, path, probe)
    return HookedModel(model, expected, vocabulary, input_squares)


def complete(hooked: HookedModel, *, name: str, config: EngineConfig, path: ComputePath) -> LanguageModel:
    """Make a hooked model, whose weights have their final form, ready to serve.

    The KV cache is allocated once, here: what the weights leave of the memory decides its size.

    Raises:
        ModelUnavailable: with these weights, this architecture would not compute what its own code does, or
            the device has too little memory.
    """
    model, context = hooked.model, context_length(hooked.model.config)
    if path.layers.native:
        # As the engine does later: PyTorch's threads would wait for each other longer than they compute.
        torch.set_num_threads(1)
    dtype = kv_cache_dtype(config.kv_cache_dtype, path.weight_format, native=path.kernels is not None)
    # Its cache is in float32: a narrower one would magnify the last bits, in which two ways may differ.
    probe = Probe(model, path)
    if path.kernels and path.layers.native:
        _replace_layers(model, path, path.kernels, probe)
    if path.layers.build:
        check_format(path, probe, hooked.expected)
    reproducible = Probe(model, path, dtype=dtype).rows_are_independent()
    warn_of_dependent_rows(reproducible)
    del probe  # its KV cache is no part of what the weights take
    return_freed_memory()
    return_freed_gpu_memory()
    blocks = kv_cache_blocks(
        config,
        token_bytes=bytes_per_token(model.config, dtype),
        context_length=context,
        gpu=gpu_budget(path.device, config.processes),
    )
    return LanguageModel(
        model,
        name=name,
        context_length=context,
        vocabulary_size=hooked.vocabulary_size,
        cache=KVCache(blocks=blocks, dtype=dtype),
        path=path,
        reproducible=reproducible,
    )


def hook(model: PreTrainedModel, path: ComputePath) -> None:
    """Replace attention and activations in place, without a check."""
    model.set_attn_implementation(attention.NAME)
    if path.layers.build:
        replace_activations(model, path.kernels)


def _move(model: PreTrainedModel, device: torch.device) -> None:
    try:
        model.to(device)  # type: ignore[arg-type]
    except torch.OutOfMemoryError as error:
        raise ModelUnavailable(
            f"The memory of {device} is too small for this model: free some of it, or set LLM_DEVICE=cpu."
        ) from error


def _hook(model: PreTrainedModel, path: ComputePath, probe: Probe) -> tuple[torch.Tensor, InputSquares]:
    """Hook attention and activations; returns what the model's own code computes, which stays the same."""
    kind = model.config.model_type
    squares: InputSquares = {}
    try:
        if path.layers.uses_input_squares:
            with noted_input_squares(model) as squares:
                expected = probe.own_logits()
        else:
            expected = probe.own_logits()
        hook(model, path)
        computed = probe.logits()
    except Exception as error:
        raise ModelUnavailable(f"Models of the kind {kind} cannot be served: {error!r}") from error
    if not near(computed, expected, _HOOKS_TOLERANCE):
        raise ModelUnavailable(
            f"Models of the kind {kind} cannot be served: with this engine's attention they do not compute "
            "what their own code does."
        )
    return expected, squares


def check_format(path: ComputePath, probe: Probe, expected: torch.Tensor) -> None:
    """Check that a model still computes `expected`, as closely as its weight format allows.

    Raises:
        WrongLogits: it does not.
    """
    weight_format = path.weight_format
    if not near(probe.logits(), expected, weight_format.tolerance):
        raise WrongLogits(
            f"This model cannot be served with {weight_format.name} weights by {path.layers.library}: its "
            "logits are too far from those of its own code. Set another LLM_DTYPE."
        )


def warn_of_dependent_rows(reproducible: bool) -> None:
    """Log it where a row's logits have other bits in a batch."""
    if not reproducible:
        logger.warning(
            "With this model on this machine, a text can depend on the load: its logits do not have the same "
            "bits alone and in a batch."
        )


def _replace_layers(model: PreTrainedModel, path: ComputePath, kernels: Kernels, probe: Probe) -> None:
    """Replace the layers by one native call, if a layer program can do what they do."""
    count = model.config.get_text_config().num_hidden_layers
    tolerance = path.weight_format.program_tolerance
    try:
        replace_layers(model, count, kernels, probe.pass_of, tolerance=tolerance)
    except NotRecordable as reason:
        logger.info("The layers of this kind of model are called one by one: %s.", reason)


def near(computed: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Whether the difference is within the tolerance, relative to the norm; NaN never is."""
    return float((computed - expected).norm()) <= tolerance * max(1.0, float(expected.norm()))
