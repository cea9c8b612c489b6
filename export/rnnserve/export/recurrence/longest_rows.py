"""The number of steps of the longest row, `int(lengths.max())`, taken for the number of steps of the input.

It depends on values, so that no exported program can have it as a size. In the context of a `LongestRowMode`, code that
asks for it gets the size of the sequence axis, which is the same wherever one row is as long as the axis. A request may
have more steps than its longest row: then results have its steps, as with lenient packing. What is computed of lengths
and masks, by operators that keep the longest row the longest, is followed.
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
"""What gives lengths of lengths, masks of masks, and lengths of masks, of the same number of steps."""

_COMPARING: Final = {
    *(Tensor.lt, Tensor.le, Tensor.gt, Tensor.ge, Tensor.ne, Tensor.eq, Tensor.masked_fill, Tensor.where),
    *(torch.lt, torch.le, torch.gt, torch.ge, torch.ne, torch.eq, torch.masked_fill, torch.where),
}
"""What gives masks of lengths, or of ids that a mask has made, whichever argument these are."""

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
"""Arithmetic with a number, which is done with the number of steps, too."""

_COMPARISONS: Final[Mapping[Any, Callable[[Any, Any], Any]]] = {
    Tensor.lt: operator.lt,
    Tensor.le: operator.le,
    Tensor.gt: operator.gt,
    Tensor.ge: operator.ge,
    Tensor.eq: operator.eq,
    Tensor.ne: operator.ne,
}


class RowLengths:
    """What `lengths.tolist()` gives in a capture: to be handed to functions that take lengths, not to be read."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor  # (batch,) of integers

    def _refuse(self, *_: object) -> NoReturn:
        raise UnsupportedModule(
            "the module's code reads the lengths of rows as numbers, one by one, from a list or an array of them "
            "(.tolist(), .numpy()): an exported program would have those of the sample, for as many rows. Compute with "
            "the tensor: a mask, torch.arange(x.size(1)) < lengths.unsqueeze(1), or pack_padded_sequence."
        )

    __iter__ = __getitem__ = __len__ = __array__ = _refuse


class LongestRowMode(TorchFunctionMode):
    """Gives the number of steps where code of this thread asks for that of the longest row.

    Attributes:
        asked: Whether code has made a number, a size or a list of one: a comparison alone asks for none.
    """

    def __init__(self, lengths: Sequence[tuple[Tensor, int | torch.SymInt]]) -> None:
        super().__init__()
        self.asked = False
        self._steps = {id(tensor): (tensor, steps) for tensor, steps in lengths}  # they stay, so that ids are theirs
        self._longest: dict[int, tuple[Tensor, int | torch.SymInt]] = {}

    def __enter__(self) -> Self:
        """Begin; a capture's tensors have a `tolist` of their own, which reads each value."""
        FakeTensor.tolist = _tolist  # type: ignore[method-assign,assignment]
        _modes().append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:  # noqa: ANN401 - as Python calls it
        """End."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        _modes().pop()
        if not _modes():
            FakeTensor.tolist = _TOLIST  # type: ignore[method-assign]

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, with the number of steps in the place of the longest row's."""
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
        # An index, or what is added to something else, does not make it lengths.
        given = args[:3] if func in _COMPARING else args[:1]
        steps = next((self._steps[id(each)][1] for each in given if id(each) in self._steps), None)
        return func(*args, **kwargs) if steps is None else self._of_lengths(func, steps, args, kwargs)

    def steps_of(self, longest: Tensor) -> int | torch.SymInt | None:
        """Give the number of steps that a tensor made here stands for; None for any other tensor."""
        return self._longest.get(id(longest), (longest, None))[1]

    def listed(self, tensor: FakeTensor) -> Any:  # noqa: ANN401
        """Give what stands for the list of a tensor's values, if it is of lengths."""
        return RowLengths(tensor) if tensor.dim() == 1 and id(tensor) in self._steps else _TOLIST(tensor)

    def _of_longest(
        self, func: Callable[..., Any], steps: Argument, args: Arguments, kwargs: Mapping[str, Any]
    ) -> Argument:
        """Compute with the longest row's number of steps; NotImplemented where that is no arithmetic."""
        if func is Tensor.item:
            self.asked = True
            return steps
        if func in _NUMBERS:
            self.asked = True
            if isinstance(steps, torch.SymInt):  # Python takes the number of a trace at fixed sizes, but no symbol
                raise RaisedInCapture(
                    "the module's code makes a plain number of the longest row's length, int(lengths.max()): write "
                    "lengths.max().item(), or x.size(1)"
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
        """Run a function on lengths, or on a mask."""
        of = args[0]
        if func in _LARGEST and (of.dim() == 1 or (len(args) == 1 and not kwargs)):
            found = func(*args, **kwargs)
            if isinstance(found, Tensor):
                return self._standing_for(of, steps)
            return torch.return_types.max((self._standing_for(of, steps), found[1]))
        if func is Tensor.__getitem__ and of.dim() == 1 and type(args[1]) is int and args[1] == 0:
            return self._standing_for(of, steps)  # of rows that are sorted by their lengths
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
        """Make the tensor () that stands for a number of steps."""
        made = torch.full((), steps, dtype=lengths.dtype, device=lengths.device)
        self._longest[id(made)] = made, steps
        return made

    def _replaced(self, arguments: Argument) -> Argument:
        if type(arguments) in (tuple, list):  # as most are; `tree_map` takes 30 µs
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
    """Give what a function does with a number; None where that is no arithmetic of integers."""
    if func in (torch.div, Tensor.div):
        return operator.floordiv if kwargs == {"rounding_mode": "floor"} else None
    return None if kwargs else _ARITHMETIC.get(func)


_thread = threading.local()


def _modes() -> list[LongestRowMode]:
    """Give this thread's modes, the innermost last."""
    if not hasattr(_thread, "modes"):
        _thread.modes = []
    modes: list[LongestRowMode] = _thread.modes
    return modes


def _tolist(tensor: FakeTensor) -> Any:  # noqa: ANN401 - a list, or what stands for one
    """Do what `tolist` does, in the thread that captures as its mode says."""
    return _modes()[-1].listed(tensor) if _modes() else _TOLIST(tensor)
