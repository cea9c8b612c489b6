"""The rolled program as a module that can be captured with symbolic sizes like any other module.

Its operators may take tensors instead of numbers if the number depends on the step or on a dynamic size. A scan with a
dynamic number of steps uses `rnnserve.export.scan`.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.recurrence.refusals import NotRolled
from rnnserve.export.recurrence.roll.items import (
    CONSTANT,
    FINAL,
    LITERAL,
    SCAN,
    STACKED,
    STATE,
    Element,
    Form,
    Progression,
    decoded,
    is_tensor,
)
from rnnserve.export.recurrence.roll.sweeping import JOINING, REPEATED, SEGMENT, Body, Operation, Source
from rnnserve.export.recurrence.roll.tracing import Traced
from rnnserve.export.recurrence.scan import BEGIN, MARKER, current_session, scan
from rnnserve.export.torch_adapter import lines_of, tree_leaves, tree_unflatten

__all__ = ["Rolled"]

_ATEN = torch.ops.aten


def computed(target: Any, form: Form, references: list[Any], numbers: list[Any]) -> Any:  # noqa: ANN401 - as in torch
    """Compute an element from its references and numbers."""
    if target == LITERAL:
        dtype, shape = form
        return _literal(dtype, shape, numbers)
    if target in JOINING and not {SEGMENT, REPEATED}.isdisjoint(form[1][1]):
        return _joined(target, form, references, numbers)
    rest, rest_numbers = iter(references), iter(numbers)
    args, kwargs = (decoded(each, rest, rest_numbers) for each in form[1:])
    if target is MARKER:
        kwargs["attr_ints"] = [_number_of_scan(args[1], kwargs["attr_ints"][0]), *kwargs["attr_ints"][1:]]
    if any(isinstance(each, Tensor) for each in numbers):
        return _with_tensors(target, args, kwargs)
    return _FUNCTIONS.get(target, target)(*args, **kwargs)


_FUNCTIONS = {_ATEN.one_hot.default: torch.nn.functional.one_hot, _ATEN.linspace.default: torch.linspace}
"""Operators that take a size as a plain number, and the functions for which a capture has stand-ins."""

_open_scans: list[int] = []


def _number_of_scan(marker: str, known: int | None) -> int:
    """Return a unique number for each scan that the module itself calls. An inner scan ends before its outer scan."""
    if known is not None:  # a scan without its begin marker
        return next(current_session().scans)
    if marker == BEGIN:
        _open_scans.append(next(current_session().scans))
        return _open_scans[-1]
    return _open_scans.pop()


def _literal(dtype: torch.dtype, shape: tuple[int, ...], numbers: list[Any]) -> Tensor:
    if not any(isinstance(each, Tensor | torch.SymInt) for each in numbers):
        return torch.tensor(numbers, dtype=dtype).reshape(shape)
    each_alone = [
        each if isinstance(each, Tensor) else torch.full((), each, dtype=torch.int64 if _is_whole(each) else dtype)
        for each in numbers
    ]
    return torch.stack([each.to(dtype) for each in each_alone]).reshape(shape)


def _is_whole(number: Any) -> bool:  # noqa: ANN401 - a number or a symbol
    return isinstance(number, int | torch.SymInt)


def _with_tensors(target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as for torch
    """Call an operator with tensors instead of numbers. For a slice, the end argument is the slice's length."""
    if target is _ATEN.select.int:
        source, dim, index = args
        index = index.clamp(max=source.shape[dim] - 1)  # the padding step after the last one, whose result is dropped
        return source.index_select(dim, index.reshape(1)).squeeze(dim)
    if target is _ATEN.select_scatter.default:
        source, value, dim, index = args
        shape = [-1 if axis == dim else 1 for axis in range(source.dim())]
        is_there = (torch.arange(source.shape[dim]) == index).reshape(shape)
        return torch.where(is_there, value.unsqueeze(dim), source)
    if target is _ATEN.slice.Tensor:  # every step has the same length
        source, dim, start, length, _ = args
        return source.index_select(dim, start.clamp(max=source.shape[dim] - length) + torch.arange(length))
    if target is _ATEN.full.default:
        return args[1].to(kwargs.get("dtype", args[1].dtype)).expand(args[0])
    if isinstance(kwargs.get("alpha"), Tensor):  # for add and sub
        args[1] = args[1] * kwargs.pop("alpha")
    return target.overloadpacket(*args, **kwargs)


def _joined(target: Any, form: Form, references: list[Any], numbers: list[Any]) -> Tensor:  # noqa: ANN401 - as for torch
    """Compute a `cat` or a `stack` with segments among its parts."""
    rest, rest_numbers = iter(references), iter(numbers)
    parts = list(_parts(form[1][1], rest, rest_numbers))
    rank = parts[0][1].dim() - parts[0][0]
    stacks = target is _ATEN.stack.default
    dim = next(rest_numbers, 0) % (rank + stacks)
    out = []
    for has_steps, value in parts:
        if has_steps:
            value = moved(value, 0, dim)
            out.append(value if stacks else value.flatten(dim, dim + 1))
        else:
            out.append(value.unsqueeze(dim) if stacks else value)
    return torch.cat(out, dim) if len(out) > 1 else out[0]


def _parts(forms: Form, references: Iterator[Any], numbers: Iterator[Any]) -> Iterator[tuple[bool, Tensor]]:
    """Yield the parts of a `cat` or a `stack`, each with whether its first axis is an axis of steps."""
    for form in forms[1:]:
        value = next(references)
        if form == REPEATED:
            yield True, value.expand(next(numbers), *value.shape)
        elif form == SEGMENT:
            first, distance, count = (next(numbers) for _ in range(3))
            if not isinstance(count, int) or count > 0:
                yield True, steps_of(value, first, distance, count)
        else:
            yield False, value


def steps_of(stacked: Tensor, first: Any, distance: Any, count: Any) -> Tensor:  # noqa: ANN401 - numbers or symbols
    """Return `count` steps along axis 0, starting at `first`, `distance` apart."""
    if isinstance(distance, int) and distance == 1:
        is_whole = isinstance(first, int) and first == 0 and _is_same(count, stacked.shape[0])
        return stacked if is_whole else stacked.narrow(0, first, count)
    if isinstance(distance, int) and distance == -1:
        return steps_of(stacked, first - count + 1, 1, count).flip(0)
    return stacked.index_select(0, first + distance * torch.arange(count))


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 - numbers or symbols
    """Whether two sizes are the same expression. Comparing them directly would add a condition on symbols."""
    return str(one) == str(other)


def moved(tensor: Tensor, axis: int, to: int) -> Tensor:
    """Move an axis, as `movedim` does, with an operator that torch.onnx translates directly."""
    order = list(range(tensor.dim()))
    order.insert(to % tensor.dim(), order.pop(axis))
    return tensor if order == sorted(order) else tensor.permute(order)


_START, _END = 1, 2  # indices among the numbers of a slice


@dataclasses.dataclass(frozen=True)
class Scanned:
    """Results of a scan."""

    finals: list[list[Tensor]]  # for each carried value, the last values, one for each step of its lag, latest first
    stacked: dict[int, Any]  # all steps of outputs, along axis 0, by the operation's place in the body


def evaluated(
    target: Argument,
    form: Argument,
    references: list[Any],
    numbers: list[Any],
    outputs: Collection[int],
    least: int,
) -> Any:  # noqa: ANN401 - a tensor, several, or a size
    """Compute an element. For a scan, `outputs` are the needed outputs, and `least` is the minimum number of steps."""
    if target == SCAN:
        return _Scan(form, references, numbers, pads=least < 1).run(sorted(outputs))
    if target == STACKED:
        return references[0].stacked[form[0]]
    if target == FINAL:
        number, left = form
        return references[0].finals[number][left]
    return computed(target, form, references, numbers)


def stacked_outputs(elements: Any) -> dict[int, set[int]]:  # noqa: ANN401 - (target, form, references) each
    """Return which outputs of each scan are read as all steps, by the scan's number."""
    found: dict[int, set[int]] = {}
    for target, form, references in elements:
        if target == STACKED:
            found.setdefault(references[0], set()).add(form[0])
    return found


class _Scan:
    """A scan during its evaluation.

    Attributes:
        pads: Whether to add a step and drop its result, because ONNX can't scan zero steps.
        fixed: Results of operations that are the same in all steps, by place.
        wholes: All steps of the values that the scan reads step by step, along axis 0.
        taken: Indices in `wholes`. The keys are sources of sequences, places of operations, and pairs of places, of an
            operation and of a number in it.
        lengths: Length of a slice that moves from step to step, by the slice's place.
    """

    def __init__(self, body: Body, references: list[Any], numbers: list[Any], *, pads: bool) -> None:
        self.body, self.references, self.numbers, self.pads = body, references, numbers, pads
        self.count = numbers[0]
        self.steps = torch.arange(self.count + 1 if pads else self.count)
        self.first = [[references[at] for at in reversed(carry.first)] for carry in body.carries]  # latest first
        self.inner_outputs = stacked_outputs(
            (each.target, each.form, [source.at if source.kind == "inside" else -1 for source in each.sources])
            for each in body.operations
        )
        self.fixed: dict[int, Any] = {}
        self.wholes: list[Tensor] = []
        self.taken: dict[Any, int] = {}
        self.lengths: dict[int, Any] = {}
        self._places: dict[Any, int] = {}
        for place, operation in enumerate(body.operations):
            self._prepare(place, operation)

    def _prepare(self, place: int, operation: Operation) -> None:
        """Compute an operation if it is the same in all steps. Otherwise collect the values that each step reads."""
        numbers = [self._number(each) for each in operation.numbers]
        sources = operation.sources
        if all(each.kind == "outside" or (each.kind == "inside" and each.at in self.fixed) for each in sources):
            given = [self._value(each, self.fixed) for each in sources]
            if all(each.is_constant for each in numbers):
                self.fixed[place] = self._computed(place, given, [each.values[0] for each in numbers])
                return
            if operation.target is _ATEN.select.int and numbers[0].is_constant:
                dim, (first, distance) = numbers[0].values[0], numbers[1].values
                if isinstance(distance, int):
                    key = (sources, dim, str(first), distance)
                    self._take(place, key, lambda: steps_of(moved(given[0], dim, 0), first, distance, self.count))
                    return
        for source in sources:
            if source.kind == "sequence":
                self._take(source, source, lambda source=source: self._sequence(source))  # type: ignore[misc]
        if operation.target is _ATEN.slice.Tensor and not numbers[_START].is_constant:
            if numbers[_START].values[1] != numbers[_END].values[1]:
                raise NotRolled("each step of a loop takes a part of a tensor, and the parts have different sizes")
            self.lengths[place] = numbers[_END].values[0] - numbers[_START].values[0]
        for at, number in enumerate(numbers):
            if not number.is_constant and not (at == _END and place in self.lengths):
                self._take((place, at), *self._all_of(number, operation.shape))

    def _take(self, name: Any, key: Any, whole: Callable[[], Tensor]) -> None:  # noqa: ANN401 - as for `taken`
        """Let an input represent a value. Values with the same key share an input."""
        if key not in self._places:
            self._places[key] = len(self.wholes)
            self.wholes.append(whole())
        self.taken[name] = self._places[key]

    def _sequence(self, source: Source) -> Tensor:
        first, distance = self.numbers[source.number : source.number + 2]
        before = [self.references[each].unsqueeze(0) for each in source.before]
        count = self.count - len(before) if before else self.count
        rest = steps_of(self.references[source.at], first, distance, count)
        return torch.cat([*before, rest]) if before else rest

    def _all_of(self, number: Progression, shape: Any) -> tuple[Any, Callable[[], Tensor]]:  # noqa: ANN401 - a `Shape`
        """Return a key for the values of a number in all steps, and a function that computes these values."""
        whole = all(isinstance(each, int | torch.SymInt) for each in number.values)
        dtype = result = torch.int64 if whole else torch.float64
        if not whole and is_tensor(shape) and shape[-1].is_floating_point:
            result = shape[-1]
        return (number.base, *map(str, number.values), result), lambda: number.at(self.steps.to(dtype)).to(result)

    def _number(self, number: Progression) -> Progression:
        return number._replace(values=tuple(self.numbers[slot] for slot in number.values))

    def _computed(self, place: int, given: list[Any], numbers: list[Any]) -> Any:  # noqa: ANN401 - as for `evaluated`
        operation = self.body.operations[place]
        least = numbers[0] if operation.target == SCAN and isinstance(numbers[0], int) else 0
        return evaluated(operation.target, operation.form, given, numbers, self.inner_outputs.get(place, ()), least)

    def _value(
        self, source: Source, values: Argument, before: Sequence[list[Tensor]] = (), step: Sequence[Tensor] = ()
    ) -> Any:  # noqa: ANN401 - as for `evaluated`
        """Return a source's value in a step, from the values of this step so far and the carried values before it."""
        match source.kind:
            case "inside":
                return values[source.at]
            case "outside":
                return self.references[source.at]
            case "carried":
                return before[source.at][-1]
        return step[self.taken[source]]

    def _step(self, before: list[list[Tensor]], step: Sequence[Tensor]) -> list[Any]:
        """Compute all operations of a step."""
        values: list[Any] = []
        for place, operation in enumerate(self.body.operations):
            if place in self.fixed:
                values.append(self.fixed[place])
            elif place in self.taken:
                values.append(step[self.taken[place]])
            else:
                numbers = [
                    step[self.taken[place, at]]
                    if (place, at) in self.taken
                    else self.lengths[place]
                    if at == _END and place in self.lengths
                    else self._number(number).values[0]
                    for at, number in enumerate(operation.numbers)
                ]
                given = [self._value(each, values, before, step) for each in operation.sources]
                values.append(self._computed(place, given, numbers))
        return values

    def run(self, outputs: list[int]) -> Scanned:
        """Return the last carried values, and all steps of the requested outputs."""
        stacked: dict[int, Any] = {
            place: self.wholes[self.taken[place]] if place in self.taken else self._repeated(place)
            for place in outputs
            if place in self.taken or place in self.fixed
        }
        outputs = [place for place in outputs if place not in stacked]
        if not self.first and not outputs:
            return Scanned([], stacked)
        # The step's number: a scan needs an input, and padding needs the number to drop the last step.
        has_number = self.pads or not self.wholes

        def combine(state: list[Tensor], taken: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            rest = iter(state)
            before = [[next(rest) for _ in first] for first in self.first]
            values = self._step(before, taken[1:] if has_number else taken)
            after = [
                [values[carry.operation], *earlier[:-1]]
                for carry, earlier in zip(self.body.carries, before, strict=True)
            ]
            states = [each for some in after for each in some] or list(state)
            if self.pads:
                states = [torch.where(taken[0] < self.count, new, old) for new, old in zip(states, state, strict=True)]
            return states, [values[place] for place in outputs] or [taken[0]]

        initial = [each for first in self.first for each in first] or [torch.zeros(1)]
        inputs = [self._padded(each) for each in self.wholes] if self.pads else self.wholes
        final, results = scan(combine, initial, [self.steps, *inputs] if has_number else inputs, dim=0)
        if self.pads:
            results = [each.narrow(0, 0, self.count) for each in results]
        rest = iter(final)
        finals = [[next(rest) for _ in first] for first in self.first]
        return Scanned(finals, stacked | dict(zip(outputs, results, strict=False)))

    def _padded(self, whole: Tensor) -> Tensor:
        """Add the padding step. A tensor of step numbers already has it."""
        if whole.dim() == 1 and _is_same(whole.shape[0], self.steps.shape[0]):
            return whole
        return torch.cat([whole, whole.new_zeros((1, *whole.shape[1:]))])

    def _repeated(self, place: int) -> Tensor:
        value: Tensor = self.fixed[place]
        return value.expand(self.count, *value.shape)


class Rolled(nn.Module):
    """Computes the same as the module, for all sizes."""

    def __init__(
        self,
        elements: Sequence[Element],
        program: Traced,
        sizes_at: Mapping[str, tuple[int, int]],
        least: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.elements, self.sizes_at, self.least = tuple(elements), dict(sizes_at), dict(least)
        self.results = program.results
        self.held: dict[int, tuple[nn.Module, str]] = {}
        self.outputs = stacked_outputs((each.target, each.form, each.references) for each in elements)
        used = {each for element in elements for each in element.references}
        for number, element in enumerate(elements):
            if element.target in (STATE, CONSTANT) and number in used:
                name = element.form[0] if element.target == STATE else element.form[2]
                held = program.states if element.target == STATE else program.constants
                self.held[number] = self._hold(name, held[name])

    def _hold(self, path: str, value: Any) -> tuple[nn.Module, str]:  # noqa: ANN401 - a parameter or a buffer
        """Register a tensor under the user's name for it."""
        *folders, name = path.split(".")
        owner: nn.Module = self
        for folder in folders:
            if folder not in owner._modules:  # noqa: SLF001 - `_modules` of a module is documented
                owner.add_module(folder, nn.Module())
            owner = owner.get_submodule(folder)
        owner.register_buffer(name, value)
        return owner, name

    def forward(self, *args: Any) -> Any:  # noqa: ANN401 - the user's
        """Compute the results."""
        leaves = tree_leaves(args)
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        sizes = {name: tensors[number].shape[axis] for name, (number, axis) in self.sizes_at.items()}
        values: list[Any] = []
        for number, element in enumerate(self.elements):
            references = [values[each] for each in element.references]
            numbers = [each(sizes) for each in element.numbers]
            match element.target:
                case "input":
                    values.append(tensors[element.form[0]])
                case "state" | "constant":
                    values.append(getattr(*self.held[number]) if number in self.held else None)
                case "output":
                    results = decoded(element.form, iter(references), iter(numbers))
                    return tree_unflatten(results, self.results)
                case target:
                    least = element.numbers[0](self.least) if target == SCAN else 0
                    with lines_of(element.meta):
                        values.append(
                            evaluated(target, element.form, references, numbers, self.outputs.get(number, ()), least)
                        )
        raise AssertionError("a program has results")
