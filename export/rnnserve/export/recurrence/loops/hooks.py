"""What rewritten functions call: Python's own functions, and loops, where they run over a symbolic number of steps."""

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.held_modules import held_modules
from rnnserve.export.outer_variables import outer_variables
from rnnserve.export.recurrence import capture_session
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.longest_rows import longest_row
from rnnserve.export.recurrence.loops.captured_loop import CapturedLoop
from rnnserve.export.recurrence.loops.refused import Site
from rnnserve.export.recurrence.loops.step_index import StepCondition, StepIndex
from rnnserve.export.recurrence.loops.step_list import StepList, joined, plain, size_of
from rnnserve.export.recurrence.loops.step_number import StepNumber, computed
from rnnserve.export.recurrence.loops.step_pass import passes
from rnnserve.export.recurrence.loops.steps import RangeSteps, Steps, TensorSteps, ZippedSteps, reversed_steps
from rnnserve.export.recurrence.loops.symbolic_sizes import is_symbol

__all__ = [
    "HOOKED",
    "comprehension",
    "counts",
    "grown",
    "is_symbolic",
    "loop",
    "made",
    "returned",
    "stepped",
    "unzipped",
]


def stepped(items: Argument) -> Argument:
    """Give what a loop runs over: steps, where their number is a symbol, else the argument."""
    if isinstance(items, Tensor) and items.dim() and is_symbol(items.shape[0]):
        return TensorSteps([items], 0)
    if isinstance(items, StepList) and items.has_steps:
        return items.steps()
    return items


def is_symbolic(items: Argument) -> bool:
    """Whether a loop runs over a symbolic number of steps."""
    return isinstance(items, Steps)


def counts(counter: Argument, bound: Argument) -> bool:
    """Whether a counter runs to a bound in a symbolic number of steps."""
    return all(isinstance(each, int | torch.SymInt) for each in (counter, bound)) and is_symbol(bound - counter)


def loop(
    steps: Steps, file: str, line: int, carried: Iterable[str], last: Iterable[str], assignable: Iterable[str]
) -> CapturedLoop:
    """Begin a loop; `Site` has the arguments."""
    site = Site(file, line, frozenset(carried), frozenset(last), frozenset(assignable))
    root = capture_session.current().root
    return CapturedLoop(steps, site, held_modules(root), outer_variables(root))


def comprehension(items: Argument, of: Callable[[Any], Iterable[Any]], file: str, line: int) -> Argument:
    """Run a comprehension over items; `of` runs it over what it is given."""
    items = stepped(items)
    if not isinstance(items, Steps):
        return of(items)
    filled = StepList()
    captured = loop(items, file, line, (), (), ())
    while captured.again({"items": filled}):
        list.append(filled, next(iter(of((captured.element(),)))))
    return filled


def unzipped(items: Argument) -> Argument:
    """Do what `zip(*items)` does."""
    items = stepped(items)
    if not isinstance(items, Steps):
        return zip(*items, strict=False)
    return tuple(StepList([TensorSteps([part], 0)]) for part in items.stacked())


def made(items: list[Any]) -> StepList:
    """Give a list that a loop may fill."""
    return StepList(items)


def grown(
    cat: Callable[..., Tensor],
    before: Tensor | None,
    items: StepList,
    at_front: bool,
    *rest: Argument,
    **named: Argument,
) -> Tensor | None:
    """Give what a variable has become that grew by `cat` in each step of a loop.

    Args:
        cat: `torch.cat`, under the name that the user's code has for it.
        before: Value of the variable before the loop; None where it began with its first item.
        items: Tensors that the steps have added, in order.
        at_front: Whether they have added it before the rest.
        rest: Other arguments of `cat`.
        named: Arguments of `cat`, by name.
    """
    if not items:
        return before
    whole = cat(items, *rest, **named)
    if before is None:
        return whole
    if before.dim() == 1 and before.shape[0] == 0 and whole.dim() > 1:  # as torch.tensor([]), which `cat` leaves out
        return whole.to(torch.promote_types(before.dtype, whole.dtype))
    return cat([whole, before] if at_front else [before, whole], *rest, **named)


def returned(value: Argument) -> Argument:
    """Give what a function returns, with lists of Python."""
    return plain(value)


def _range(*bounds: Argument) -> Argument:
    bounds = tuple(map(_as_size, bounds))
    if not any(isinstance(bound, torch.SymInt | StepIndex) for bound in bounds):
        return range(*bounds)
    start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    found = RangeSteps(start, stop, step)
    return found if is_symbol(found.count) else range(*(int(bound) for bound in bounds))


def _len(items: Argument) -> Argument:
    if isinstance(items, Tensor):
        return items.shape[0]
    return size_of(items)


def _enumerate(items: Argument, start: int = 0) -> Argument:
    items = stepped(items)
    if isinstance(items, Steps):
        return ZippedSteps([RangeSteps(start, items.count + start, 1), items])
    return builtins.enumerate(items, start)


def _zip(*several: Argument, strict: bool = False) -> Argument:
    several = tuple(stepped(items) for items in several)
    if any(isinstance(items, Steps) for items in several):
        return ZippedSteps([items if isinstance(items, Steps) else _counted(items) for items in several])
    return zip(*several, strict=strict)


def _counted(items: Argument) -> Steps:
    """Give a list of a known length as steps, so that `ZippedSteps` says what differs."""
    return TensorSteps([torch.empty(len(list(items)))], 0)


def _reversed(items: Argument) -> Argument:
    items = stepped(items)
    return reversed_steps(items) if isinstance(items, Steps) else builtins.reversed(items)


def _list(*items: Argument) -> Argument:
    given = stepped(items[0]) if items else ()
    return StepList([given] if isinstance(given, Steps) else given)


def _tuple(*items: Argument) -> Argument:
    given = stepped(items[0]) if items else ()
    return StepList([given]) if isinstance(given, Steps) else tuple(given)


def _as_size(value: Argument) -> Argument:
    """Give the number of steps for what stands for the longest row's."""
    steps = longest_row(value)
    return value if steps is None else steps


def _int(*value: Argument, **named: Argument) -> Argument:
    value = tuple(map(_as_size, value))
    if value and isinstance(value[0], torch.SymInt):
        return capture_session.number_of(value[0])
    if len(value) == 1 and isinstance(value[0], StepIndex):
        return value[0]
    return int(*value, **named) if _truth(value) is None else _truth(value)


def _float(*value: Argument) -> Argument:
    number = value[0] if value and isinstance(value[0], StepIndex | StepNumber) else _truth(value)
    return float(*value) if number is None else computed("add", number.loop, number, 0.0)


def _truth(value: Arguments) -> StepNumber | None:
    """Give a condition on steps, `t % 2 == 0`, as the number 0 or 1 that Python makes of it; None for anything else."""
    given = value[0] if len(value) == 1 else None
    if isinstance(given, StepCondition):
        given = given.tensor()
    if not isinstance(given, Tensor) or given.dtype != torch.bool or given.dim() or not passes.stack:
        return None
    return StepNumber(passes.stack[-1].loop, given.long())


def _sum(items: Argument, *start: Argument) -> Argument:
    items = stepped(items)
    if not isinstance(items, Steps):
        return sum(items, *start)
    whole: Argument = joined([items])
    total = whole.sum(0)
    return total + start[0] if start else total


def _iter(items: Argument, *sentinel: Argument) -> Iterator[Any] | Steps:
    items = stepped(items)
    return items if isinstance(items, Steps) else iter(items, *sentinel)


HOOKED: dict[str, Callable[..., Any]] = {
    "range": _range,
    "len": _len,
    "enumerate": _enumerate,
    "zip": _zip,
    "reversed": _reversed,
    "list": _list,
    "tuple": _tuple,
    "int": _int,
    "float": _float,
    "sum": _sum,
    "iter": _iter,
}
"""Functions of Python, by name, that take steps in a rewritten function."""
