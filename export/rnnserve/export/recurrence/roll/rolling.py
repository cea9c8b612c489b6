"""Capturing a module that loops over an axis, for all sizes, from captures at a few sizes."""

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.recurrence.capture import capture
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes, Limits, resize, within
from rnnserve.export.recurrence.refusals import FixedSize, NotRolled, RaisedInCapture
from rnnserve.export.recurrence.roll.emission import Rolled
from rnnserve.export.recurrence.roll.items import Element, Item, fitted, items_of, refuse_unlike
from rnnserve.export.recurrence.roll.sweeping import rolled
from rnnserve.export.recurrence.roll.tracing import Traced, simplify, traced
from rnnserve.export.recurrence.value_trials import Trial
from rnnserve.export.source_lines import is_users_code, source_line
from rnnserve.protos.protocol_words import BATCH

__all__ = ["RolledCapture", "rolled_capture"]

_SIZES = (
    (8, 9, 11, 9, 13, 14, 18, 23),  # for the axis that is looped over most often: unequal gaps, even and odd
    (14, 8, 12, 19, 14, 12, 8, 19),  # doesn't rise or fall together with the other axes
    (13, 22, 10, 8, 10, 13, 22, 8),
    (17, 8, 13, 23, 17, 8, 13, 23),
    (9, 15, 21, 8, 9, 15, 21, 8),
    (13, 20, 8, 16, 13, 20, 8, 16),
)
"""Sizes of up to six axes in each trace. No two axes have the same size, or sizes that change in the same way."""
_COUNTS = (3, 4, 8)  # numbers of traces to try: few, but enough to see how each number depends on the sizes
_FEWEST_STEPS = 5  # needed to find a loop

_TRIED = (1, 2, 3, 9, 67)
_LONG = (2100, 1000, 300, 100)
_MANY_ROWS = 300
_TELLING_SIZE = 83  # size for the run that finds conditions, because few other axes have this size
_LARGEST_TRIAL = 5000


class RolledCapture(NamedTuple):
    """A module captured for all sizes."""

    program: torch.export.ExportedProgram
    trials: list[Trial]  # sizes at which its values must match the module's
    is_stateless: bool  # whether it is certain that no call reads values that the previous call has written


def rolled_capture(module: nn.Module, args: Arguments, axes: DynamicAxes, limits: Limits) -> RolledCapture:
    """Capture a module whose Python code fixes the size of an axis, usually with a loop over it."""
    ordered = sorted(axes.sizes, key=lambda name: (name != "sequence", name == BATCH))
    points = _points(ordered, limits)
    taken = {name: {point[name] for point in points[: _COUNTS[0]]} for name in ordered}
    looped = [name for name in ordered if min(taken[name]) >= _FEWEST_STEPS and len(taken[name]) == _COUNTS[0]]
    if not looped:
        low, high = limits.get(ordered[0], (1, None))
        raise NotRolled(
            f'the module accepts too few sizes of the axis "{ordered[0]}", {low} to {high}, for its loops to be found'
        )
    fewest = min(min(taken[name]) for name in looped)
    traces: list[Traced] = []
    programs: list[list[Item]] = []
    clamped: dict[int, str] = {}
    elements: list[Element] | None = None
    for count in _COUNTS[len(ordered) > 3 :]:
        for point in points[len(traces) : count]:
            traces.append(traced(module, resize(args, axes, point), axes))
            for line, bound in simplify(traces[-1].graph):
                clamped.setdefault(bound, line)
            programs.append(rolled(items_of(traces[-1]), fewest))
            refuse_unlike(programs)
        try:
            elements = fitted(programs, points[:count])
        except NotRolled:
            if elements is None and count == _COUNTS[-1]:
                raise
        # Few sizes match many formulas with a quotient. `value_trials` verifies the formulas found for few sizes.
        if elements is not None and not any(number.divides for element in elements for number in element.numbers):
            break
    assert elements is not None  # noqa: S101 - or the last count has raised
    sizes_at = {
        name: (number, place)
        for number, names in reversed(list(enumerate(axes.names)))
        for place, name in names.items()
    }
    least = {name: within(1, name, limits) for name in axes.sizes}
    made = Rolled(elements, traces[0], sizes_at, least).train(module.training)
    try:
        captured = capture(made, args, axes.of_variadic(args), limits)
    except (FixedSize, RaisedInCapture) as error:
        raise NotRolled(f"the scans that replace its loops fail for some sizes ({error})") from error
    found = {name for element in elements for name in element.looped}
    looped = [name for name in looped if name in found] or looped[:1]
    trials = _Trials(module, args, axes, limits, looped)
    found_trials = [*trials.of_conditions(points[0], clamped), *trials.of_loops()]
    return RolledCapture(captured, found_trials, is_stateless=True)


def _points(ordered: Sequence[str], limits: Limits) -> list[dict[str, int]]:
    """Return the sizes to trace at, within the sizes that the module accepts."""
    columns = []
    for name, usual in zip(ordered, itertools.cycle(_SIZES)):
        low, high = limits.get(name, (1, None))
        shift = max(low - min(usual), 0)
        if high is not None:
            shift = min(shift, max(high - max(usual[: _COUNTS[0]]), _FEWEST_STEPS - min(usual)))
        columns.append([within(size + shift, name, limits) for size in usual])
    return [dict(zip(ordered, sizes, strict=True)) for sizes in zip(*columns, strict=True)]


@dataclasses.dataclass(frozen=True)
class _Trials:
    """The sizes at which values are compared: usual sizes, and both sides of each condition on a size."""

    module: nn.Module
    args: Arguments
    axes: DynamicAxes
    limits: Limits
    looped: Sequence[str]  # axes with loops over them

    def _at(self, **sizes: int) -> dict[str, int]:
        length = next((sizes[name] for name in self.looped if name in sizes), 5)
        others = {name: length + 3 + number for number, name in enumerate(self.axes.sizes)}
        return {name: within(sizes.get(name, others[name]), name, self.limits) for name in self.axes.sizes}

    def of_conditions(self, usual: Mapping[str, int], clamped: Mapping[int, str]) -> Iterator[Trial]:
        for name in self.axes.sizes:
            telling = within(_TELLING_SIZE, name, self.limits)
            given = resize(self.args, self.axes, self._at(**{name: telling}))
            conditions = conditions_on(self.module, given, telling, usual[name])
            if name in self.looped:
                conditions += [
                    Condition(line, (bound - 1, bound, bound + 1)) for bound, line in sorted(clamped.items())
                ]
            for line, lengths in conditions:
                for size in lengths:
                    if within(size, name, self.limits) == size >= 1:
                        refusal = NotRolled(
                            f"the module's Python code{line} has a condition on the axis "
                            f'"{name}", and takes another path at the size {size}. An exported module has one path '
                            "for all sizes. Leave the condition out, or name the sizes that the module accepts, "
                            f'sizes={{"{name}": (smallest, largest)}}'
                        )
                        if size > _LARGEST_TRIAL:
                            raise refusal
                        yield Trial(self._at(**{name: size}), refusal)

    def of_loops(self) -> Iterator[Trial]:
        tried = [
            *((length, 1, False) for length in _TRIED),
            *((length, 3, True) for length in _TRIED),
            (2, _MANY_ROWS, False),
            *((length, 2, False) for length in _LONG),
        ]
        for axis, (length, batch, is_unusual) in itertools.product(self.looped, tried):
            sizes = self._at(**({axis: length} if axis == BATCH else {axis: length, BATCH: batch}))
            shown = ", ".join(f'"{name}" {size}' for name, size in sizes.items())
            bound = f"({length + 1}, None)" if length < 9 else "(…, …)"
            refusal = NotRolled(
                "the module's loop over the axis "
                f'"{axis}" returns other values at {shown} than the exported scan, which follows most sizes. If you '
                f'do not need these sizes, name the smallest and the largest size: sizes={{"{axis}": {bound}}}'
            )
            yield Trial(sizes, refusal, (is_unusual,), axis, is_long=length in _LONG)


_FIRST_CANDIDATES = range(1, 66)
_CANDIDATES = (*_FIRST_CANDIDATES, *(each + more for each in (100, 128, 256, 300, 500, 512, 1000) for more in (0, 1)))
_FAR_CANDIDATES = tuple(each + more for each in (1024, 1500, 2000, 2048, 4096, 5000, 10_000, 65_536) for more in (0, 1))


class Condition(NamedTuple):
    """A condition on the length alone, `if x.size(1) > 256:`. Captures at a few lengths see only one side of it."""

    line: str  # " (at file.py:12)"
    lengths: tuple[int, ...]  # lengths with the other answer: the smallest, and the largest to try


def conditions_on(module: nn.Module, args: Any, length: int, usual: int) -> list[Condition]:  # noqa: ANN401 - the module's
    """Run a module, and return its conditions on the length alone, or an empty list if it fails.

    Sizes are numbers that record how they depend on the length. If a line makes the same comparison each time it runs,
    and the result changes at another length, it is a condition on the length. The condition of a loop makes a different
    comparison each time: `t < length`.
    """
    asked: dict[tuple[str, int, int], list[Callable[[int], bool]]] = {}
    with contextlib.suppress(Exception), torch.no_grad(), _Sizes(length, asked):
        module(*args)
    return [
        Condition(f" (at {source_line(file, line)})", lengths)
        for (file, line, _), questions in asked.items()
        if (lengths := tuple(_lengths_of_others(questions, usual)))
    ]


def _lengths_of_others(questions: list[Callable[[int], bool]], usual: int) -> Iterator[int]:
    """Return lengths at which all comparisons of a line, if they are the same, have another result."""
    answers = {tuple(_answer(each, at) for at in (*_CANDIDATES, *_FAR_CANDIDATES)) for each in questions[:64]}
    if len(answers) > 1:
        return
    here = _answer(questions[0], usual)
    found = [at for at in (*_CANDIDATES, *_FAR_CANDIDATES) if _answer(questions[0], at) not in (here, None)]
    near = [at for at in found if at in _CANDIDATES]
    yield from sorted({*found[:1], *near[-1:]})


def _answer(question: Callable[[int], bool], length: int) -> bool | None:
    try:
        return bool(question(length))
    except ArithmeticError:
        return None


class _Size(int):
    """A size that depends on the length."""

    of: Callable[[int], Any]  # computes the size from a length
    asked: dict[tuple[str, int, int], list[Callable[[int], bool]]]  # comparisons of sizes, by file, line, instruction


def _size(value: int, of: Callable[[int], Any], asked: Any) -> _Size:  # noqa: ANN401 - as for _Size
    size = _Size(value)
    size.of, size.asked = of, asked
    return size


def _computing(name: str) -> Callable[[Any, Any], Any]:
    plain = getattr(int, name)

    def compute(self: _Size, other: Any) -> Any:  # noqa: ANN401 - any number
        value = plain(self, other)
        if type(value) is not int:
            return value
        at = other.of if isinstance(other, _Size) else lambda _: other
        return _size(value, lambda length: plain(int(self.of(length)), int(at(length))), self.asked)

    return compute


def _asking(name: str) -> Callable[[Any, Any], Any]:
    plain = getattr(int, name)

    def ask(self: _Size, other: Any) -> Any:  # noqa: ANN401 - any number
        answer = plain(self, other)
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way to find the caller
        file = frame.f_code.co_filename
        if type(answer) is bool and is_users_code(file):
            at = other.of if isinstance(other, _Size) else lambda _: other
            question = lambda length: plain(int(self.of(length)), int(at(length)))  # noqa: E731
            self.asked.setdefault((file, frame.f_lineno, frame.f_lasti), []).append(question)
        return answer

    return ask


_ARITHMETIC = ("add", "sub", "mul", "floordiv", "mod", "radd", "rsub", "rmul", "rfloordiv", "rmod")
for _name in _ARITHMETIC:
    setattr(_Size, f"__{_name}__", _computing(f"__{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(_Size, f"__{_name}__", _asking(f"__{_name}__"))
_Size.__hash__ = int.__hash__  # type: ignore[method-assign]

_RELATED: tuple[Callable[[int], int], ...] = (
    lambda length: length,
    lambda length: length - 1,
    lambda length: length + 1,
    lambda length: 2 * length,
    lambda length: length // 2,
    lambda length: (length + 1) // 2,
)
"""Sizes that are assumed to depend on the length."""


class _Sizes(TorchFunctionMode):
    """Replaces sizes with numbers that record the length."""

    def __init__(self, length: int, asked: Any) -> None:  # noqa: ANN401 - as for _Size
        super().__init__()
        self._of = {each(length): each for each in reversed(_RELATED)}
        self._asked = asked

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run `func`, and replace the sizes that it returns."""
        del types
        result = func(*args, **(kwargs or {}))
        if func in (Tensor.shape.__get__, Tensor.size):  # type: ignore[attr-defined]  # of C
            if isinstance(result, torch.Size):
                return torch.Size([self._remembering(each) for each in result])
            return self._remembering(result)
        return result

    def _remembering(self, size: int) -> int:
        of = self._of.get(size)
        return size if of is None else _size(size, of, self._asked)
