"""Capturing a module that loops over an axis, for all sizes: from captures at a few sizes of it."""

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from rnnserve.export.recurrence.capture import capture
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes, Limits, resize, within
from rnnserve.export.recurrence.refusals import FixedSize, NotRolled, RaisedInCapture
from rnnserve.export.recurrence.roll.conditions import Condition, conditions_on
from rnnserve.export.recurrence.roll.emission import Rolled
from rnnserve.export.recurrence.roll.fitting import Element, fitted
from rnnserve.export.recurrence.roll.items import Item, items_of
from rnnserve.export.recurrence.roll.simplification import Clamped, simplify
from rnnserve.export.recurrence.roll.sweeping import rolled
from rnnserve.export.recurrence.roll.tracing import Traced, make_functional, traced
from rnnserve.export.recurrence.value_trials import Trial
from rnnserve.protos.protocol_words import BATCH

__all__ = ["RolledCapture", "rolled_capture"]

_LENGTHS = (8, 9, 11)  # unequal gaps, even and odd
_MORE_LENGTHS = (*_LENGTHS, 13, 14, 18, 23)
_OTHER_SIZES = ((5, 12, 6, 19), (7, 13, 22, 10), (14, 6, 17, 23), (4, 15, 21, 8), (13, 20, 5, 16))
"""Sizes of up to five other axes in each trace; no two axes have the same size, or sizes that change alike."""

_TRIED = (1, 2, 3, 9, 17, 67)
_LONG = (300, 1000, 3000)
_BATCHES = (1, 3)
_MANY_ROWS = 300
_TELLING_SIZE = 83  # of the run that finds conditions: the size of few other axes
_LARGEST_TRIAL = 5000


class RolledCapture(NamedTuple):
    """A module captured for all sizes."""

    program: torch.export.ExportedProgram  # the program
    trials: list[Trial]  # sizes at which its values have to be the module's
    is_stateless: bool  # whether it is known that no call reads what the one before has written


def rolled_capture(module: nn.Module, args: Arguments, axes: DynamicAxes, limits: Limits) -> RolledCapture:
    """Capture a module whose Python code fixes the size of an axis, most often by a loop over it."""
    ordered = sorted(axes.sizes, key=lambda name: (name != "sequence", name == BATCH))
    refused: NotRolled | None = None
    for axis in ordered:  # a loop may be over each of them
        try:
            return _rolled_along(axis, module, args, axes, limits, refused)
        except NotRolled as error:
            refused = refused or error
    assert refused is not None  # noqa: S101 - without a dynamic axis nothing is fixed
    raise refused


def _rolled_along(
    axis: str, module: nn.Module, args: Arguments, axes: DynamicAxes, limits: Limits, refused: NotRolled | None
) -> RolledCapture:
    known: dict[tuple[int, ...], tuple[_Trace, list[Item]]] = {}

    def traced_program(lengths: Sequence[int]) -> tuple[list[_Trace], list[Element]]:
        """Trace the module at some lengths, and make one program of the traces."""
        points = list(_points(axis, axes, limits, lengths))
        fewest = min(sizes[axis] for sizes in points)
        found = []
        for sizes in points:
            key = (fewest, *sizes.values())
            if key not in known:
                trace = _Trace.of(module, args, axes, sizes)
                known[key] = trace, rolled(trace.items, fewest)
            found.append(known[key])
        return [trace for trace, _ in found], fitted([items for _, items in found], points)

    traces, elements = traced_program(_LENGTHS)
    if any(number.divides for element in elements for number in element.numbers):  # few sizes have many such formulas
        with contextlib.suppress(NotRolled):  # `value_trials` checks whether those for few sizes hold
            traces, elements = traced_program(_MORE_LENGTHS)
    program, clamped = traces[0].program, [each for trace in traces for each in trace.clamped]
    sizes_at = {
        name: (number, place)
        for number, names in reversed(list(enumerate(axes.names)))
        for place, name in names.items()
    }
    least = {name: within(1, name, limits) for name in axes.sizes}
    made = Rolled(elements, program, sizes_at, least).train(module.training)
    try:
        captured = capture(made, args, axes.of_variadic(args), limits)
    except (FixedSize, RaisedInCapture) as error:
        raise NotRolled(f"the scans that its loops would be exported as fail for some sizes ({error})") from error
    trials = list(_trials(axis, module, args, axes, limits, clamped))
    if refused is not None:  # along an axis before
        trials = [dataclasses.replace(each, refusal=NotRolled(f"{refused}. And {each.refusal}")) for each in trials]
    return RolledCapture(captured, trials, is_stateless=True)


class _Trace(NamedTuple):
    """A module traced at fixed sizes."""

    program: Traced  # the program, simplified
    items: list[Item]  # what it has
    clamped: list[Clamped]  # the parts that end after their axis

    @classmethod
    def of(cls, module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Mapping[str, int]) -> "_Trace":
        program = traced(module, resize(args, axes, sizes), axes)
        make_functional(program)
        clamped = simplify(program.graph)
        return cls(program, items_of(program), clamped)


def _points(axis: str, axes: DynamicAxes, limits: Limits, usual: Sequence[int] = _LENGTHS) -> Iterator[dict[str, int]]:
    """Give sizes to trace at; no two axes change alike."""
    lengths = _lengths(axis, limits, usual)
    for number, length in enumerate([*lengths, lengths[1]] if len(axes.sizes) > 1 else lengths):
        others = {
            name: within(_OTHER_SIZES[at % len(_OTHER_SIZES)][number % 4], name, limits)
            for at, name in enumerate(axes.sizes)
        }
        yield {**others, axis: length}


def _lengths(axis: str, limits: Limits, usual: Sequence[int]) -> Sequence[int]:
    """Lengths to capture at, which the module takes."""
    low, high = limits.get(axis, (1, None))
    shift = max(low - _LENGTHS[0], 0)
    lengths = [length + shift for length in usual]
    if high is not None and lengths[-1] > high:
        lengths = [length - lengths[-1] + high for length in lengths]
    if lengths[0] < max(low, 5):
        raise NotRolled(
            f'the module takes too few sizes of the axis "{axis}", {low} to {high}, for its loops to be found'
        )
    return lengths


def _trials(
    axis: str, module: nn.Module, args: Arguments, axes: DynamicAxes, limits: Limits, clamped: Collection[Clamped]
) -> Iterator[Trial]:
    """Give the sizes at which values are compared: usual ones, and both sides of each condition on a size."""
    usual = next(_points(axis, axes, limits, _LENGTHS))

    def at(**sizes: int) -> dict[str, int]:
        length = sizes.get(axis, 5)
        others = {name: length + 3 + number for number, name in enumerate(axes.sizes)}
        return {name: within(sizes.get(name, others[name]), name, limits) for name in axes.sizes}

    for name in axes.sizes:
        telling = within(_TELLING_SIZE, name, limits)
        conditions = conditions_on(module, resize(args, axes, at(**{name: telling})), telling, usual[name])
        if name == axis:
            conditions += [Condition(line, (bound - 1, bound, bound + 1)) for line, bound in sorted(set(clamped))]
        for line, lengths in conditions:
            for size in lengths:
                if within(size, name, limits) == size >= 1:
                    refusal = NotRolled(
                        f'the module\'s Python code{line} has a condition on the axis "{name}", and takes another path '
                        f"at the size {size}. An exported module has one path for all sizes: leave the condition out, "
                        f'or name the sizes that the module takes, sizes={{"{name}": (smallest, largest)}}'
                    )
                    if size > _LARGEST_TRIAL:
                        raise refusal
                    yield Trial(at(**{name: size}), refusal, may_fail=True)
    for length, batch in (*itertools.product(_TRIED, _BATCHES), (2, _MANY_ROWS), *((length, 2) for length in _LONG)):
        sizes = at(**({axis: length} if axis == BATCH else {axis: length, BATCH: batch}))
        shown = ", ".join(f'"{name}" {size}' for name, size in sizes.items())
        bound = f"({length + 1}, None)" if length < _TRIED[3] else "(…, …)"
        refusal = NotRolled(
            f'the module\'s loop over the axis "{axis}" gives other values at {shown} than the scan that it would be '
            "exported as, which is that of most sizes. If the module does not take these sizes, or need not, name the "
            f'smallest and the largest: sizes={{"{axis}": {bound}}}'
        )
        yield Trial(sizes, refusal, may_fail=True, is_long=length in _LONG)
