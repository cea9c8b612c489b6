"""Replaces the length of the longest row, `int(lengths.max())`, with the number of steps of the input.

The length of the longest row depends on values, so an exported program can't use it as a size. In the context of a
`LongestRowMode`, code that reads it gets the size of the sequence axis instead. Both are the same if at least one row
fills the axis. If a request has more steps than its longest row, its results have all of these steps, as with lenient
packing. The mode also tracks tensors computed from lengths and masks, as long as the longest row stays the longest.
"""

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.refusals import RaisedInCapture
from rnnserve.export.recurrence.scan import is_capturing
from rnnserve.export.torch_adapter import FakeTensor, tree_map

__all__ = ["LongestRowMode", "RowLengths"]

_KEEPING: Final = {
    *(Tensor.to, Tensor.type, Tensor.long, Tensor.int, Tensor.float, Tensor.cpu, Tensor.clone, Tensor.detach),
    *(Tensor.contiguous, Tensor.reshape, Tensor.view, Tensor.flatten, Tensor.squeeze, Tensor.unsqueeze),
    *(Tensor.type_as, Tensor.index_select, Tensor.expand, Tensor.clamp, Tensor.t, Tensor.transpose, Tensor.bool),
    *(Tensor.sum, Tensor.count_nonzero, Tensor.logical_not, Tensor.__invert__),
    *(torch.clone, torch.detach, torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze, torch.index_select),
    *(torch.clamp, torch.sum, torch.count_nonzero, torch.logical_not, torch.as_tensor, torch.transpose),
}
"""Functions that return lengths for lengths, masks for masks, and lengths for masks, for the same number of steps."""

_COMPARING: Final = {
    *(Tensor.lt, Tensor.le, Tensor.gt, Tensor.ge, Tensor.ne, Tensor.eq, Tensor.masked_fill, Tensor.where),
    *(torch.lt, torch.le, torch.gt, torch.ge, torch.ne, torch.eq, torch.masked_fill, torch.where),
}
"""Functions that return masks for lengths, or for ids made by a mask, in any argument."""

_SORTING: Final = {torch.sort, Tensor.sort, torch.topk, Tensor.topk}
_LARGEST: Final = {torch.max, Tensor.max, torch.amax, Tensor.amax}
_NUMBERS: Final = {Tensor.__int__, Tensor.__index__}
_LISTS: Final = {Tensor.tolist, Tensor.numpy}
_TOLIST: Final = FakeTensor.tolist
_FACTORIES: Final = {torch.arange, torch.zeros, torch.ones, torch.full, torch.empty, torch.linspace}

_ARITHMETIC: Final[Mapping[Any, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys((Tensor.add, torch.add, Tensor.__radd__), operator.add),
    **dict.fromkeys((Tensor.sub, torch.sub), operator.sub),
    **dict.fromkeys((Tensor.mul, torch.mul, Tensor.__rmul__), operator.mul),
    **dict.fromkeys((Tensor.floor_divide, torch.floor_divide, Tensor.__floordiv__), operator.floordiv),
    Tensor.__rsub__: lambda one, other: other - one,
}
"""Arithmetic with a number, which is also applied to the number of steps."""

_COMPARISONS: Final[Mapping[Any, Callable[[Any, Any], Any]]] = {
    Tensor.lt: operator.lt,
    Tensor.le: operator.le,
    Tensor.gt: operator.gt,
    Tensor.ge: operator.ge,
    Tensor.eq: operator.eq,
    Tensor.ne: operator.ne,
}


class RowLengths:
    """Result of `lengths.tolist()` in a capture. Code can pass it to functions that take lengths, but can't read it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor  # (batch,), integers

    def _refuse(self, *_: object) -> NoReturn:
        raise UnsupportedModule(
            "the module's code reads the lengths of rows as single numbers from a list or an array (.tolist(), "
            ".numpy()). An exported program would keep the numbers of the sample. Compute with the tensor: a mask, "
            "torch.arange(x.size(1)) < lengths.unsqueeze(1), or pack_padded_sequence."
        )

    __iter__ = __getitem__ = __len__ = __array__ = _refuse


class LongestRowMode(TorchFunctionMode):
    """Gives code in this thread the number of steps when it reads the length of the longest row.

    Attributes:
        asked: Whether code has made a number, a size or a list from a length. A comparison alone doesn't count.
    """

    def __init__(self, lengths: Sequence[tuple[Tensor, int | torch.SymInt]]) -> None:
        super().__init__()
        self.asked = False
        self._steps = {id(tensor): (tensor, steps) for tensor, steps in lengths}  # with tensors: no `id` is reused
        self._longest: dict[int, tuple[Tensor, int | torch.SymInt]] = {}

    def __enter__(self) -> Self:
        """Enter the mode, and replace the `tolist` of a capture's tensors, which would read each value."""
        FakeTensor.tolist = _tolist  # type: ignore[method-assign,assignment]
        _modes().append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:  # noqa: ANN401 - as Python calls it
        """Leave the mode. The outermost mode restores `tolist`."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        _modes().pop()
        if not _modes():
            FakeTensor.tolist = _TOLIST  # type: ignore[method-assign]

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, with the number of steps instead of the length of the longest row."""
        del types
        kwargs = kwargs or {}
        first = args[0] if args and isinstance(args[0], Tensor) else None
        longest = self._longest.get(id(first))
        if longest is not None and func not in _FACTORIES:
            found = self._of_longest(func, longest[1], args, kwargs)
            if found is not NotImplemented:
                return found
            return func(first, *self._replaced(args[1:]), **self._replaced(kwargs))
        args, kwargs = (self._replaced(args), self._replaced(kwargs)) if self._longest else (args, kwargs)
        # A tensor used as an index or a second operand doesn't make the result lengths.
        given = args[:3] if func in _COMPARING else args[:1]
        steps = next((self._steps[id(each)][1] for each in given if id(each) in self._steps), None)
        return func(*args, **kwargs) if steps is None else self._of_lengths(func, steps, args, kwargs)

    def steps_of(self, longest: Tensor) -> int | torch.SymInt | None:
        """Return the number of steps that a tensor made here represents, or None for other tensors."""
        return self._longest.get(id(longest), (longest, None))[1]

    def listed(self, tensor: FakeTensor) -> Any:  # noqa: ANN401
        """Return a substitute for the list of a tensor's values if they are lengths."""
        return RowLengths(tensor) if tensor.dim() == 1 and id(tensor) in self._steps else _TOLIST(tensor)

    def _of_longest(
        self, func: Callable[..., Any], steps: Argument, args: Arguments, kwargs: Mapping[str, Any]
    ) -> Argument:
        """Compute with the longest row's number of steps, or return NotImplemented if `func` isn't arithmetic."""
        if func is Tensor.item:
            self.asked = True
            return steps
        if func in _NUMBERS:
            self.asked = True
            if isinstance(steps, torch.SymInt):  # Python accepts the int of a trace at fixed sizes, but no symbol
                raise RaisedInCapture(
                    "the module's code converts the longest row's length to a Python number, int(lengths.max()). "
                    "Write lengths.max().item(), or x.size(1)"
                )
            return steps
        others = [self.steps_of(each) if isinstance(each, Tensor) else each for each in args[1:]]
        if len(others) == 1 and isinstance(others[0], int | torch.SymInt):
            if func in _COMPARISONS:
                return _COMPARISONS[func](steps, others[0])
            if (compute := _arithmetic(func, kwargs)) is not None:
                return self._standing_for(args[0], compute(steps, others[0]))
        if func in _KEEPING and isinstance(kept := func(*args, **kwargs), Tensor):
            self._longest[id(kept)] = kept, steps
            return kept
        return NotImplemented

    def _of_lengths(
        self, func: Callable[..., Any], steps: Argument, args: Arguments, kwargs: Mapping[str, Any]
    ) -> Argument:
        """Run a function on lengths or on a mask."""
        of = args[0]
        if func in _LARGEST and (of.dim() == 1 or (len(args) == 1 and not kwargs)):
            found = func(*args, **kwargs)
            if isinstance(found, Tensor):
                return self._standing_for(of, steps)
            return torch.return_types.max((self._standing_for(of, steps), found[1]))
        if func is Tensor.__getitem__ and of.dim() == 1 and type(args[1]) is int and args[1] == 0:
            return self._standing_for(of, steps)  # rows sorted by length
        if func in _LISTS and of.dim() == 1:
            self.asked = True
            return RowLengths(of) if is_capturing() else func(*args, **kwargs)
        found = func(*args, **kwargs)
        if func in _SORTING:
            self._steps[id(found[0])] = found[0], steps
        elif isinstance(found, Tensor) and found.dim():
            if func in _KEEPING or func in _COMPARING or func is Tensor.__getitem__:
                self._steps[id(found)] = found, steps
            elif len(args) == 2 and isinstance(args[1], int) and (compute := _arithmetic(func, kwargs)) is not None:
                self._steps[id(found)] = found, compute(steps, args[1])
        return found

    def _standing_for(self, lengths: Tensor, steps: Argument) -> Tensor:
        """Make a tensor () that represents a number of steps."""
        made = torch.full((), steps, dtype=lengths.dtype, device=lengths.device)
        self._longest[id(made)] = made, steps
        return made

    def _replaced(self, arguments: Argument) -> Argument:
        if type(arguments) in (tuple, list):  # most calls; `tree_map` takes 30 µs
            return type(arguments)(map(self._replaced, arguments))
        if isinstance(arguments, tuple | dict):
            return tree_map(self._number, arguments) if arguments else arguments
        return self._number(arguments)

    def _number(self, value: Argument) -> Argument:
        if isinstance(value, slice):
            return slice(*map(self._number, (value.start, value.stop, value.step)))
        steps = self._longest.get(id(value))
        self.asked = self.asked or steps is not None
        return value if steps is None else steps[1]


def _arithmetic(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> Callable[[Any, Any], Any] | None:
    """Return the function's arithmetic for a number, or None if it isn't integer arithmetic."""
    if func in (torch.div, Tensor.div):
        return operator.floordiv if kwargs == {"rounding_mode": "floor"} else None
    return None if kwargs else _ARITHMETIC.get(func)


_thread = threading.local()


def _modes() -> list[LongestRowMode]:
    """Return this thread's modes, innermost last."""
    if not hasattr(_thread, "modes"):
        _thread.modes = []
    modes: list[LongestRowMode] = _thread.modes
    return modes


def _tolist(tensor: FakeTensor) -> Any:  # noqa: ANN401 - a list or a substitute
    """Return a tensor's list, or the substitute of the capturing thread's mode."""
    return _modes()[-1].listed(tensor) if _modes() else _TOLIST(tensor)
