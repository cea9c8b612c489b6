"""One run of a loop's body during a capture: which tensors it makes, reads and writes.

Writes to tensors that the run has not made are not executed, but kept: what a step writes, a later one may read, and so
it is part of the state, or it is an output of the step (`out[:, t] = y`).
"""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_number import StepsOwner
from rnnserve.export.recurrence.loops.symbolic_sizes import same_size

__all__ = ["AssignedStep", "StepPass", "as_written", "passes", "reads", "written_by"]

_INPLACE = frozenset(
    f"__i{name}__"
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
)
# Functions that tell of a tensor what does not depend on its values.
_NO_READS = frozenset(
    ("__get__", "size", "dim", "ndimension", "numel", "stride", "is_floating_point", "__len__", "untyped_storage")
)


@dataclasses.dataclass(frozen=True)
class AssignedStep:
    """What a step writes to a tensor at its number: `tensor[:, t] = value`.

    Attributes:
        tensor: Tensor that is written to.
        dim: Axis of the steps.
        index: Number along it.
        value: What is written there.
    """

    tensor: Tensor
    dim: int
    index: StepIndex
    value: Argument


class StepPass:
    """One run of a body.

    Args:
        loop: Loop whose body runs.
        whole: Tensors that are carried whole, by `id`: what is written to them is executed.

    Attributes:
        written: Tensors that the body has not made and writes to, by `id`.
        views_written: Whether it writes to a part of one.
        assigned: What it writes at the number of the step, by the `id` of the tensor.
    """

    def __init__(self, loop: StepsOwner, whole: dict[int, Tensor]) -> None:
        self.loop, self.whole = loop, whole
        self.written: dict[int, Tensor] = {}
        self.views_written = False
        self.assigned: dict[int, AssignedStep] = {}
        self._made: dict[int, Tensor] = {}
        self._storages: set[int] = set()
        self._read: set[int] = set()

    def made(self, results: Argument) -> None:
        """Note what a function has made."""
        for leaf in torch.utils._pytree.tree_leaves(results):  # noqa: SLF001
            if isinstance(leaf, Tensor):
                self._made[id(leaf)] = leaf

    def made_anew(self, results: Argument, arguments: list[Tensor]) -> None:
        """Note what a function has made, and of it what is no view of an argument."""
        before = {_storage(argument) for argument in arguments}
        for leaf in torch.utils._pytree.tree_leaves(results):  # noqa: SLF001
            if isinstance(leaf, Tensor):
                self._made[id(leaf)] = leaf
                if (storage := _storage(leaf)) not in before:
                    self._storages.add(storage)

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether the body has not made a tensor."""
        return id(tensor) not in self._made

    def writes_outside(self, tensor: Tensor) -> bool:
        """Whether a write to a tensor is one to what the body has not made."""
        return _storage(tensor) not in self._storages

    def write(self, tensor: Tensor) -> None:
        """Note a write to what the body has not made."""
        if id(tensor) in self._made:
            self.views_written = True
        else:
            self.written[id(tensor)] = tensor

    def read(self, tensors: list[Tensor]) -> None:
        """Note which tensors a function reads."""
        self._read.update(_storage(tensor) for tensor in tensors)

    def assign(self, step: AssignedStep) -> None:
        """Note a write at the number of the step; the second one to a tensor makes it a part of the state."""
        if id(step.tensor) in self.assigned:
            self.written[id(step.tensor)] = step.tensor
        self.assigned[id(step.tensor)] = step

    def finish(self) -> None:
        """Make what is both read and written at the number of the step a part of the state."""
        for key, step in list(self.assigned.items()):
            if _storage(step.tensor) in self._read or key in self.written:
                self.written[key] = step.tensor
                del self.assigned[key]


def written_by(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Give the tensor that a function of torch writes to, or None."""
    name = getattr(func, "__name__", "")
    out = kwargs.get("out")
    if isinstance(out, Tensor):
        return out
    inplace = name in _INPLACE or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    if (inplace or kwargs.get("inplace") is True) and args and isinstance(args[0], Tensor):
        return args[0]
    return None


def reads(func: Callable[..., Any]) -> bool:
    """Whether a function of torch reads values of its arguments."""
    return getattr(func, "__name__", "") not in _NO_READS


def as_written(value: Argument, place: Tensor) -> Tensor:
    """Give a value in the shape and the type of the place that it is written to, as `place[...] = value` does."""
    given = torch.as_tensor(value).to(place.dtype)
    while given.dim() > place.dim() and same_size(given.shape[0], 1):
        given = given.squeeze(0)
    return given.expand_as(place)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


class _Passes(threading.local):
    def __init__(self) -> None:
        self.stack: list[StepPass] = []


passes = _Passes()
"""The runs in progress in this thread, the innermost last."""
