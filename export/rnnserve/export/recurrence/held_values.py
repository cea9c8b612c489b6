"""Supplies the tensor values that a module's Python code reads during a capture, when tensors have no values.

- Values that the module holds: parameters, buffers and tensors computed from these alone. `range(int(self.layers))`
  runs the same in each call, so the capture uses the module's own numbers. `HeldValueMode` records how to compute
  tensors that don't depend on the inputs, and computes them when code reads their values.
- Checks of values that only raise: `assert lengths.min() > 0`, `if lengths.max() > x.size(1): raise …`, and the checks
  of `torch.distributions`. If a check fails, eager returns no result, so a program without the check is right whenever
  eager returns a result. The capture uses a value for which the check passes, and the export warns the user.
"""

import contextlib
import dis
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments
from rnnserve.export.recurrence.interception import stand_in_for
from rnnserve.export.recurrence.packing import PackedField
from rnnserve.export.recurrence.refusals import AsksForValues
from rnnserve.export.source_lines import is_users_code, source_line
from rnnserve.export.torch_adapter import (
    FakeTensor,
    outside_of_modes,
    tree_flatten,
    tree_leaves,
    tree_unflatten,
    version_of,
)

__all__ = ["HeldValueMode", "checks_left_out"]

_BOOLS: Final = {Tensor.__bool__, torch.equal, Tensor.equal, torch.is_nonzero, Tensor.is_nonzero}
_NUMBERS: Final = {Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item}
_ASSERTS: Final = {torch._assert, torch._assert_async}  # noqa: SLF001 - users call the first, distributions the second
_ASKS: Final = {*_BOOLS, *_NUMBERS, Tensor.tolist, Tensor.numpy}
"""Functions that turn tensors into Python values."""

_thread = threading.local()


@contextlib.contextmanager
def checks_left_out() -> Iterator[dict[str, None]]:
    """Collect in the context the lines of the checks that this thread's captures omit."""
    lines: dict[str, None] = {}
    _thread.lines = lines
    try:
        yield lines
    finally:
        del _thread.lines


class HeldValueMode(TorchFunctionMode):
    """Lets Python code in this thread read values that don't depend on the module's inputs.

    Attributes:
        asked: Names of the parameters and buffers whose values were read.
        changed: Names of parameters and buffers that a call replaces (`self.calls = self.calls + 1`) or writes to.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self._own = _tensors_of(module)
        self._made: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}  # with the tensor, so that no `id` is reused
        self._begun: dict[str, tuple[Tensor, int | None]] = {}
        self.asked: set[str] = set()
        self.changed: set[str] = set()

    @contextlib.contextmanager
    def of_calls(self) -> Iterator["HeldValueMode"]:
        """Track the tensors that replace the module's own during its calls in the context."""
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
        tensors = {name: tensor for name, tensor in _tensors_of(self._module).items() if name in self._own}
        self._begun = {name: (tensor, version_of(tensor)) for name, tensor in tensors.items()}
        self._made = {id(tensor): (tensor, functools.partial(self._held, name)) for name, tensor in tensors.items()}

    def _end(self, results: Any) -> None:  # noqa: ANN401 - the module's
        if any(isinstance(each, PackedField) for each in tree_leaves(results)):
            raise UnsupportedModule(
                "forward returns a PackedSequence, or one of its fields. Return pad_packed_sequence of it instead"
            )
        after = _tensors_of(self._module)
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
        """Run `func` or its stand-in, or compute the values that code reads of the module's own tensors."""
        del types
        kwargs = kwargs or {}
        alone = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(alone, Tensor) and id(alone) not in self._made and func not in _ASKS:
            return stand_in_for(func, ())(alone)  # most calls: torch reads shapes, strides and devices
        leaves, structure = tree_flatten((tuple(args), kwargs))
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        symbolic = any(isinstance(each, torch.SymInt | torch.SymFloat | torch.SymBool) for each in leaves)
        held = bool(tensors) and not symbolic and all(id(each) in self._made for each in tensors)
        if func in _ASSERTS and tensors and not held:
            _note_line()
            return None
        if func in _ASKS:
            if held:
                return outside_of_modes(lambda: self._again(func, leaves, structure))
            if (passing := _passing(func, tensors)) is not None:
                return passing
            if func is Tensor.numpy and isinstance(args[0], FakeTensor):
                raise AsksForValues(".numpy() needs the values of a tensor")
        result = stand_in_for(func, (*args, *kwargs.values()))(*args, **kwargs)
        if _writes(func, kwargs):
            if any(id(each) in self._made for each in tensors):
                self._made.clear()  # views of the tensor have changed as well
        elif held:
            for at, each in enumerate(tree_leaves(result)):
                if isinstance(each, Tensor) and id(each) not in self._made:
                    self._made[id(each)] = each, functools.partial(self._again, func, leaves, structure, at)
        return result

    def _again(self, func: Callable[..., Any], leaves: list[Any], structure: Argument, at: int | None = None) -> Any:  # noqa: ANN401
        """Run a function on tensors with values, and return its result or a tensor from the result."""
        values = [self._made[id(each)][1]() if isinstance(each, Tensor) else each for each in leaves]
        args, kwargs = tree_unflatten(values, structure)
        result = func(*args, **kwargs)
        return result if at is None else tree_leaves(result)[at]


def _tensors_of(module: nn.Module) -> dict[str, Tensor]:
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _writes(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a function changes a tensor: `add_`, `x[0] = …`, `x += …`, `out=`."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.startswith(("__set", "__i")) and name not in ("__int__", "__index__", "__invert__")
    return name.endswith("_") or "out" in kwargs


_BETWEEN = ("__torch_function__", "_all_true_or_runtime_assert")
"""Functions of torch between the code that checks a value and this mode: its own modes, and since 2.15 a function that
returns the truth value of distributions' checks."""

_LARGE = 2**62
_ENDS = ("POP_TOP", "STORE", "DELETE", "RETURN", "YIELD", "FOR_ITER", "SEND", "RERAISE")
"""Instructions besides jumps that end an expression."""


def _passing(func: Callable[..., Any], tensors: list[Tensor]) -> Any:  # noqa: ANN401 - a bool or a number
    """Return a value that passes the check, if the code is only a check, else None."""
    if func not in _BOOLS | _NUMBERS:
        return None
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to see who calls
    while frame.f_code.co_name in _BETWEEN and frame.f_back is not None:
        frame = frame.f_back
    found = _check_at(frame.f_code, frame.f_lasti)
    if found is None:
        return None
    passes, sign = found
    _note_line()
    if func in _BOOLS or (func is Tensor.item and tensors[0].dtype is torch.bool):
        return None if sign else passes
    is_float = func is Tensor.__float__ or (func is Tensor.item and tensors[0].is_floating_point())
    number = sign * _LARGE or int(passes)
    return float(number) if is_float else number


def _note_line() -> None:
    """Record the line of the user's code whose check is omitted."""
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and not is_users_code(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is not None and hasattr(_thread, "lines"):
        _thread.lines[source_line(frame.f_code.co_filename, frame.f_lineno)] = None


@functools.lru_cache(maxsize=256)
def _check_at(code: types.CodeType, offset: int) -> tuple[bool, int] | None:
    """Find out whether a value only decides if the code raises, and return None if the value has another use.

    Otherwise return the truth value of the condition that avoids the exception, and a sign. If the condition compares
    the value, the sign is 1 if a large value avoids the exception and -1 if a small value does. Otherwise it is 0.
    """
    found = list(dis.get_instructions(code))
    places = {each.offset: number for number, each in enumerate(found)}
    at = max(number for place, number in places.items() if place <= offset)  # a call's offset may lie in its caches
    jump = next(n for n in range(at, len(found)) if _ends(found[n]))
    name = found[jump].opname
    if not name.startswith("POP_JUMP") or not name.endswith(("IF_TRUE", "IF_FALSE")):
        return None
    falls, jumps = (_only_raises(found, start) for start in (jump + 1, places[found[jump].argval]))
    if falls == jumps:
        return None
    passes = truth = falls == name.endswith("IF_TRUE")
    for number in range(jump - 1, at, -1):
        if found[number].opname == "UNARY_NOT":
            truth = not truth
        elif found[number].opname == "COMPARE_OP":
            operator = str(found[number].argval)
            is_right = all(each.opname in ("PRECALL", "CALL", "CACHE") for each in found[at + 1 : number])
            if "=" in operator and operator[0] in "=!":  # no number is certain to be equal
                return (passes, 1) if truth == (operator[0] == "!") else None
            return passes, 1 if (operator[0] == ">") == (truth != is_right) else -1
    return truth, 0


def _ends(instruction: dis.Instruction) -> bool:
    return "JUMP" in instruction.opname or instruction.opname.startswith((*_ENDS, "RAISE"))


def _only_raises(found: list[dis.Instruction], start: int) -> bool:
    """Whether the code from `start` on only raises."""
    return next(each.opname for each in found[start:] if _ends(each)).startswith("RAISE")
