"""What the layers of a model do in a step, recorded while their own code runs.

A tensor is recorded as its storage and its layout in it, so an operator that only makes another view leaves
no trace. Two passes with different numbers of rows show which sizes and offsets depend on the rows, and how.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class NotRecordable(Exception):
    """The layers do something that a program cannot repeat; the message says what."""


@dataclass(frozen=True)
class View:
    """The layout of a tensor in its storage.

    Attributes:
        storage: the storage's number.
        offset: in bytes.
        sizes, strides: in elements.
    """

    storage: int
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """An operation.

    Attributes:
        operands: its tensors by their names in `native/abi.h`; the result is `out`.
        numbers: what it takes besides, by their names.
    """

    operation: str
    operands: dict[str, View]
    numbers: dict[str, float] = field(default_factory=dict)


_BINARY = {
    aten.add.Tensor: "add",
    aten.sub.Tensor: "subtract",
    aten.mul.Tensor: "multiply",
    aten.div.Tensor: "divide",
}
_UNARY = {
    aten.neg.default: "negate",
    aten.rsqrt.default: "inverse_root",
    aten.relu.default: "relu",
    aten.clone.default: "copy",
}
_WITHOUT_CONTENT = {aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default}


def _over_last(x: torch.Tensor, dims: list[int] | None, keepdim: bool = False) -> bool:
    """Whether a mean is over the last dimension alone, which is dense and kept."""
    return dims is not None and list(dims) in ([-1], [x.dim() - 1]) and keepdim and x.stride(-1) == 1


class Recorder(TorchDispatchMode):
    """Records all PyTorch operators and native kernels that run while it is entered.

    Attributes:
        calls: what was recorded, in order.
        storages: the number of each storage by its address, in ascending order.
        made: the numbers of the storages that were created while recording.
        floats: how many floats each of these holds.
        constants: tensors created here for the plain numbers in the layers' code.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.storages: dict[int, int] = {}
        self.made: set[int] = set()
        self.floats: dict[int, int] = {}
        self.constants: list[torch.Tensor] = []
        self._thread = threading.get_ident()
        self._kept: list[torch.Tensor] = []  # so that no address is reused while recording

    def view(self, tensor: torch.Tensor) -> View:
        """The layout of the tensor in its storage."""
        self._kept.append(tensor)
        number = self.storages.setdefault(tensor.untyped_storage().data_ptr(), len(self.storages))
        offset = int(tensor.storage_offset()) * tensor.element_size()
        return View(number, offset, tuple(tensor.shape), tensor.stride())

    def call(
        self, operation: str, tensors: dict[str, torch.Tensor], numbers: dict[str, float] | None = None
    ) -> None:
        """Record an operation on tensors of any shapes, such as a native kernel."""
        if threading.get_ident() != self._thread:
            return  # of another model that is computing
        operands = {name: self.view(tensor) for name, tensor in tensors.items()}
        self.calls.append(Call(operation, operands, numbers or {}))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        known = {self.view(tensor).storage for tensor in inputs}
        result = func(*args, **kwargs)
        out = result[0] if isinstance(result, tuple | list) else result
        if not isinstance(out, torch.Tensor):
            raise NotRecordable(f"{func} returns no tensor")
        view = self.view(out)
        if func._schema.is_mutable:
            raise NotRecordable(f"{func} changes its input")
        if view.storage in known:
            return result
        self.made.add(view.storage)
        self.floats[view.storage] = out.untyped_storage().nbytes() // out.element_size()
        if func not in _WITHOUT_CONTENT:
            self._record(func, args, kwargs, out)
        return result

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: torch.Tensor) -> None:
        if func in _UNARY and kwargs.keys() <= {"memory_format"}:
            self._append(_UNARY[func], x=args[0], out=out)
        elif func in _BINARY and len(args) == 2 and not kwargs:
            self._append(_BINARY[func], left=args[0], right=args[1], out=out)
        elif func is aten.pow.Tensor_Scalar and args[1] == 2:
            self._append("multiply", left=args[0], right=args[0], out=out)
        elif func is aten.mean.dim and not kwargs and _over_last(*args):
            self.call("mean", {"x": args[0], "out": out})
        elif func is aten.cat.default:
            sizes = [tensor.shape[args[1] if len(args) > 1 else 0] for tensor in args[0]]
            self._append_parts(args[0], out.split(sizes, *args[1:]))
        elif func is aten.stack.default:
            self._append_parts(args[0], out.unbind(*args[1:]))
        elif func is aten.native_layer_norm.default and len(args[1]) == 1 and args[0].stride(-1) == 1:
            x, shape, weight, bias, epsilon = args
            weight = self._constant(torch.ones(shape)) if weight is None else weight
            bias = self._constant(torch.zeros(shape)) if bias is None else bias
            if not (weight.is_contiguous() and bias.is_contiguous()):
                raise NotRecordable("a norm with weights that are not dense")
            tensors = {"x": x, "weight": weight, "bias": bias, "out": out}
            self.call("layer_norm", tensors, {"epsilon": epsilon})
        else:
            raise NotRecordable(f"{func}")

    def _append(self, operation: str, *, out: torch.Tensor, **inputs: torch.Tensor | float) -> None:
        operands = {name: self._operand(value, out) for name, value in inputs.items()}
        self.calls.append(Call(operation, operands | {"out": self._operand(out, out)}))

    def _append_parts(self, tensors: Iterable[torch.Tensor], parts: Iterable[torch.Tensor]) -> None:
        for tensor, part in zip(tensors, parts, strict=True):
            self._append("copy", x=tensor, out=part)

    def _operand(self, value: torch.Tensor | float, out: torch.Tensor) -> View:
        """As a view of `out`'s shape: a number, or a dimension of size one, is repeated."""
        tensor = value if isinstance(value, torch.Tensor) else self._constant(torch.tensor(float(value)))
        if tensor.dtype is not torch.float32:
            raise NotRecordable(f"numbers of type {tensor.dtype}")
        return self.view(tensor.expand(out.shape))

    def _constant(self, tensor: torch.Tensor) -> torch.Tensor:
        self.constants.append(tensor)
        return tensor
