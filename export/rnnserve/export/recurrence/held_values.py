"""Values that a module holds, parameters and buffers and what is computed of them alone: known while it is captured.

`if self.input_size == self.hidden_size:` of two buffers, or `range(int(self.layers))`, takes the same way in each call,
so its answer is that of the module's own numbers. Tensors of a capture have no values; this mode notes how those that
depend on no argument are made, and computes one where Python code asks for its value.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.packing import PackedField
from rnnserve.export.recurrence.refusals import AsksForValues
from rnnserve.export.torch_adapter import (
    FakeTensor,
    outside_of_modes,
    tree_flatten,
    tree_leaves,
    tree_unflatten,
    version_of,
)

__all__ = ["HeldValueMode"]

_ASKS: Final = frozenset(
    {
        Tensor.__bool__,
        Tensor.__int__,
        Tensor.__float__,
        Tensor.__index__,
        Tensor.item,
        Tensor.tolist,
        Tensor.numpy,
        torch.equal,
        Tensor.equal,
        torch.is_nonzero,
        Tensor.is_nonzero,
    }
)
"""Functions that make values of Python of tensors."""


class HeldValueMode(TorchFunctionMode):
    """Answers, in this thread, what Python code asks of values that depend on no argument of the module.

    Attributes:
        asked: Names of the parameters and buffers that an answer was made of.
        changed: Names of those that hold another tensor after a call, `self.calls = self.calls + 1`, or are written to.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self._own = dict(_tensors_of(module))
        self._made: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}  # the tensor too, so that no `id` is used again
        self._begun: dict[str, tuple[Tensor, int | None]] = {}
        self.asked: set[str] = set()
        self.changed: set[str] = set()

    @contextlib.contextmanager
    def of_calls(self) -> Iterator["HeldValueMode"]:
        """Note, in the context, what stands in the place of the module's tensors when it is called."""
        hooks = (
            self._module.register_forward_pre_hook(lambda *_: self._begin()),
            self._module.register_forward_hook(lambda _, __, results: self._end(results)),
        )
        try:
            with self:
                yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _begin(self) -> None:
        self._made.clear()
        tensors = {name: tensor for name, tensor in _tensors_of(self._module) if name in self._own}
        self._begun = {name: (tensor, version_of(tensor)) for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            self._made[id(tensor)] = tensor, functools.partial(self._held, name)

    def _end(self, results: Any) -> None:  # noqa: ANN401 - the module's
        if any(isinstance(each, PackedField) for each in tree_leaves(results)):
            raise UnsupportedModule(
                "forward returns a PackedSequence, or a field of one; return pad_packed_sequence of it instead"
            )
        after = dict(_tensors_of(self._module))
        self.changed.update(
            name
            for name, (tensor, version) in self._begun.items()
            if after.get(name) is not tensor or version_of(tensor) != version
        )

    def _held(self, name: str) -> Tensor:
        self.asked.add(name)
        return self._own[name]

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, on the module's own numbers if it asks for values that they decide."""
        del types
        kwargs = kwargs or {}
        alone = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(alone, Tensor) and id(alone) not in self._made and func is not Tensor.numpy:
            return func(alone)  # most calls: torch reads shapes, strides and devices
        leaves, structure = tree_flatten((tuple(args), kwargs))
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        symbolic = any(isinstance(each, torch.SymInt | torch.SymFloat | torch.SymBool) for each in leaves)
        held = bool(tensors) and not symbolic and all(id(each) in self._made for each in tensors)
        if held and func in _ASKS:
            return _computed(func, *self._with_values(leaves, structure))
        if func is Tensor.numpy and isinstance(args[0], FakeTensor):
            raise AsksForValues(".numpy() needs the values of a tensor")
        result = func(*args, **kwargs)
        if _writes(func, kwargs):
            if any(id(each) in self._made for each in tensors):
                self._made.clear()  # views of it have changed with it
        elif held:
            self._note(func, leaves, structure, result)
        return result

    def _note(self, func: Callable[..., Any], leaves: list[Any], structure: Argument, result: Argument) -> None:
        """Note how each tensor of a result is made, for where one is asked for."""
        for at, each in enumerate(tree_leaves(result)):
            if isinstance(each, Tensor) and id(each) not in self._made:

                def made(at: int = at) -> Tensor:
                    args, kwargs = self._with_values(leaves, structure)
                    tensor: Tensor = tree_leaves(_computed(func, args, kwargs))[at]
                    return tensor

                self._made[id(each)] = each, made

    def _with_values(self, leaves: list[Any], structure: Argument) -> tuple[Arguments, dict[str, Any]]:
        values = [self._made[id(each)][1]() if isinstance(each, Tensor) else each for each in leaves]
        args, kwargs = tree_unflatten(values, structure)
        return args, kwargs


def _tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _computed(func: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]) -> Argument:
    """Run a function on tensors with values, outside of the capture."""
    with outside_of_modes():
        return func(*args, **kwargs)


def _writes(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a function changes a tensor: `add_`, `x[0] = …`, `x += …`, `out=`."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.startswith(("__set", "__i")) and name not in _READS
    return name.endswith("_") or "out" in kwargs


_READS: Final = ("__int__", "__index__", "__invert__")
