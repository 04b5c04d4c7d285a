"""A prepared model as tensors in a file and a description that JSON can hold.

What is kept: every parameter and buffer, and each module of this engine that holds tensors, such as a linear
layer of any weight format, as its class and its attributes. So a format needs to know nothing of the file.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from inference.engine.compute.formats.weight_format import BuildLinear, LinearWeights
from inference.engine.compute.packed.tensor_file import NotKeepable, TensorWriter
from inference.engine.compute.packed.tensors import tensor_at
from inference.engine.native.kernels import Kernels

_OWN = "inference.engine.compute."
_MODULE = frozenset(vars(nn.Module()))
"""The attributes that PyTorch gives every module."""


class ModelWriter:
    """Writes a model while its linear layers are replaced, so that memory never holds both forms of it."""

    def __init__(self, writer: TensorWriter) -> None:
        self._writer = writer
        self._written: dict[nn.Module, dict[str, Any]] = {}

    def streaming(self, build: BuildLinear) -> BuildLinear:
        """As `build`, but the layers' tensors are in the file alone, so the layers cannot compute.

        Raises:
            NotKeepable, OSError: by the returned function.
        """

        def build_and_write(linear: LinearWeights) -> nn.Module:
            layer = build(linear)
            self._written[layer] = self._attributes(layer)
            for name, value in _attributes(layer).items():
                if isinstance(value, torch.Tensor):
                    setattr(layer, name, value.new_empty(0))
            return layer

        return build_and_write

    def describe(self, model: PreTrainedModel) -> dict[str, Any]:
        """Write everything else of the model; returns what `restored_model` needs to know.

        Raises:
            NotKeepable: the model holds tensors in a way that a file cannot.
            OSError: the file cannot be written.
        """
        own: dict[str, Any] = {}
        places: dict[nn.Module, str] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            first = places.setdefault(module, name)
            if first != name:
                if first not in own:
                    raise NotKeepable("a module in two places")
                own[name] = {"place": first}
            elif _is_own(module) and any(map(_holds_tensors, module.modules())):
                attributes = self._written.get(module) or self._attributes(module)
                own[name] = {
                    "class": f"{type(module).__module__}:{type(module).__qualname__}",
                    "attributes": attributes,
                    "parameters": [parameter for parameter, _ in module.named_parameters(recurse=False)],
                }
            elif any(isinstance(value, torch.Tensor) for value in _attributes(module).values()):
                raise NotKeepable(f"a tensor in {type(module).__name__} that is neither parameter nor buffer")
        return {
            "own": own,
            "tensors": {
                name: self._writer.add(tensor, shared=True)
                for kind in (model.named_parameters, model.named_buffers)
                for name, tensor in kind(remove_duplicate=False)
            },
        }

    def _attributes(self, module: nn.Module) -> dict[str, Any]:
        return {name: self._kept(module, value) for name, value in _attributes(module).items()}

    def _kept(self, module: nn.Module, value: Any) -> dict[str, Any]:
        match value:
            case torch.Tensor():
                return {"tensor": self._writer.add(value)}
            case Kernels():
                return {"kernels": True}
            case None | bool() | int() | float() | str():
                return {"value": value}
        raise NotKeepable(f"a {type(value).__name__} in {type(module).__name__}")


def restored_model(
    folder: Path,
    description: dict[str, Any],
    memory: NDArray[np.uint8],
    *,
    hook: Callable[[PreTrainedModel], None],
    kernels: Kernels | None,
) -> PreTrainedModel:
    """The model of `folder`, as it was when it was described, without reading its weights.

    Args:
        memory: what the tensors of the file were read into. The model's tensors are views of it.
        hook: replaces what holds no tensors, in place.

    Raises:
        NotKeepable: the description is not that of this model.
        Exception: whatever transformers raises for files that it cannot read.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, dtype=torch.float32, attn_implementation="sdpa"
        )
    hook(model)
    for name, kept in description["own"].items():
        parent, _, child = name.rpartition(".")
        place = kept.get("place")
        module = _rebuilt(kept, memory, kernels) if place is None else model.get_submodule(place)
        setattr(model.get_submodule(parent), child, module)
    for name, reference in description["tensors"].items():
        parent, _, child = name.rpartition(".")
        module, tensor = model.get_submodule(parent), tensor_at(memory, reference)
        if child in module._parameters:
            module._parameters[child] = nn.Parameter(tensor, requires_grad=False)
        elif child in module._buffers:
            module._buffers[child] = tensor
        else:
            raise NotKeepable(f"{name}, which the model does not have")
    for name, tensor in _all_tensors(model):
        if tensor.is_meta:
            raise NotKeepable(f"no value of {name}")
    model.eval()
    return model


def _rebuilt(kept: dict[str, Any], memory: NDArray[np.uint8], kernels: Kernels | None) -> nn.Module:
    place, _, name = kept["class"].partition(":")
    kind = getattr(import_module(place), name) if place.startswith(_OWN) else None
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise NotKeepable(f"an object of {kept['class']}")
    module: nn.Module = kind.__new__(kind)
    nn.Module.__init__(module)
    for attribute, value in kept["attributes"].items():
        if "tensor" in value:
            restored: Any = tensor_at(memory, value["tensor"])
        else:
            restored = kernels if "kernels" in value else value["value"]
        setattr(module, attribute, restored)
    # Its parameters follow with those of the model.
    for name in kept["parameters"]:
        module.register_parameter(name, None)
    return module


def _is_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_OWN)


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _MODULE}


def _holds_tensors(module: nn.Module) -> bool:
    return any(isinstance(value, torch.Tensor) for value in _attributes(module).values()) or any(
        True for _ in module.parameters(recurse=False)
    )


def _all_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
    for name, module in model.named_modules():
        for attribute, value in _attributes(module).items():
            if isinstance(value, torch.Tensor):
                yield f"{name}.{attribute}", value
