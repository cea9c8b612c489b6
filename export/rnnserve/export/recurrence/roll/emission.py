"""The rolled program as a module, which is captured with symbolic sizes as any other.

Numbers of its operators may be tensors: those of a step, or of a dynamic size. A scan of a dynamic number of steps is
`rnnserve.export.scan`.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.recurrence.refusals import NotRolled
from rnnserve.export.recurrence.roll.fitting import Element
from rnnserve.export.recurrence.roll.items import (
    CONSTANT,
    FINAL,
    LITERAL,
    SCAN,
    STACKED,
    STATE,
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


def computed(target: Any, form: Form, references: list[Any], numbers: list[Any]) -> Any:  # noqa: ANN401 - as of torch
    """Compute an element from what it refers to and from its numbers."""
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
"""By operators that take a size as a plain number, the functions that a capture has stand-ins for."""

_open_scans: list[int] = []


def _number_of_scan(marker: str, known: int | None) -> int:
    """Give a number of its own to each scan that the module calls itself; one ends before that around it."""
    if known is not None:  # without a beginning
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


def _with_tensors(target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as of torch
    """Call an operator that takes numbers with tensors; of a slice, the end is its length."""
    if target is _ATEN.select.int:
        source, dim, index = args
        index = index.clamp(max=source.shape[dim] - 1)  # a step after the last is left out
        return source.index_select(dim, index.reshape(1)).squeeze(dim)
    if target is _ATEN.select_scatter.default:
        source, value, dim, index = args
        shape = [-1 if axis == dim else 1 for axis in range(source.dim())]
        is_there = (torch.arange(source.shape[dim]) == index).reshape(shape)
        return torch.where(is_there, value.unsqueeze(dim), source)
    if target is _ATEN.slice.Tensor:  # of the same length in each step
        source, dim, start, length, _ = args
        return source.index_select(dim, start.clamp(max=source.shape[dim] - length) + torch.arange(length))
    if target is _ATEN.full.default:
        return args[1].to(kwargs.get("dtype", args[1].dtype)).expand(args[0])
    if isinstance(kwargs.get("alpha"), Tensor):  # of add and sub
        args[1] = args[1] * kwargs.pop("alpha")
    return target.overloadpacket(*args, **kwargs)


def _joined(target: Any, form: Form, references: list[Any], numbers: list[Any]) -> Tensor:  # noqa: ANN401 - as of torch
    """Compute a `cat` or a `stack` that has segments among its parts."""
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
    """Give the parts of a `cat` or a `stack`, each with whether it has an axis of steps in front."""
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
    """Give some steps along axis 0: so many, from one on, at a distance."""
    if isinstance(distance, int) and distance == 1:
        is_whole = isinstance(first, int) and first == 0 and _is_same(count, stacked.shape[0])
        return stacked if is_whole else stacked.narrow(0, first, count)
    if isinstance(distance, int) and distance == -1:
        return steps_of(stacked, first - count + 1, 1, count).flip(0)
    return stacked.index_select(0, first + distance * torch.arange(count))


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 - numbers or symbols
    """Whether two sizes are the same expression; no condition on symbols comes of it."""
    return str(one) == str(other)


def written(source: Tensor, values: Tensor, dim: Any, first: Any, distance: Any, count: Any) -> Tensor:  # noqa: ANN401
    """Write steps to some places along an axis of a tensor: so many, from one on, at a distance."""
    if distance == -1:
        return written(source, values.flip(0), dim, first - count + 1, 1, count)
    whole = source.shape[dim]
    if distance == 1 and isinstance(first, int) and first == 0 and _is_same(whole, count):
        return moved(values, 0, dim)
    source = moved(source, dim, 0)
    values = values.to(source.dtype)
    if distance == 1:
        parts = [source.narrow(0, 0, first), values, source.narrow(0, first + count, whole - first - count)]
        return moved(torch.cat(parts), 0, dim)
    return moved(source.index_put((first + distance * torch.arange(count),), values), 0, dim)


def moved(tensor: Tensor, axis: int, to: int) -> Tensor:
    """Move an axis, as `movedim` does, by an operator that torch.onnx translates as it is."""
    order = list(range(tensor.dim()))
    order.insert(to % tensor.dim(), order.pop(axis))
    return tensor if order == sorted(order) else tensor.permute(order)


_NOTHING: Any = object()
_START, _END = 1, 2  # among the numbers of a slice


@dataclasses.dataclass(frozen=True)
class Scanned:
    """Results of a scan.

    Attributes:
        finals: For each carried value, the last ones, as many as steps that it is carried over, the latest first.
        stacked: All steps of outputs, along axis 0, by their place in the body.
    """

    finals: list[list[Tensor]]
    stacked: dict[int, Any]


def evaluated(
    target: Argument,
    form: Argument,
    references: list[Any],
    numbers: list[Any],
    outputs: Collection[int],
    least: int,
) -> Any:  # noqa: ANN401 - a tensor, several, or a size
    """Compute an element."""
    if target == SCAN:
        return _Scan(form, references, numbers, sorted(outputs)).run(least)
    if target == STACKED:
        return references[0].stacked[form[0]]
    if target == FINAL:
        number, left = form
        return references[0].finals[number][left]
    return computed(target, form, references, numbers)


def stacked_outputs(elements: Any) -> dict[int, set[int]]:  # noqa: ANN401 - (target, form, references) each
    """By the number of a scan, which of its outputs are read as all steps."""
    found: dict[int, set[int]] = {}
    for target, form, references in elements:
        if target == STACKED:
            found.setdefault(references[0], set()).add(form[0])
    return found


class _Scan:
    """One scan while it is evaluated."""

    def __init__(self, body: Body, references: list[Any], numbers: list[Any], outputs: list[int]) -> None:
        self.body, self.references, self.numbers, self.outputs = body, references, numbers, outputs
        self.count = numbers[0]
        inner = [
            (each.target, each.form, [source.at if source.kind == "inside" else -1 for source in each.sources])
            for each in body.operations
        ]
        self.inner_outputs = stacked_outputs(inner)
        self.first = [[references[at] for at in reversed(carry.first)] for carry in body.carries]  # the latest first
        self.fixed = self._fixed()

    def run(self, least: int) -> Scanned:
        return self._unrolled() if isinstance(self.count, int) else self._scanned(least)

    def _number(self, number: Progression) -> Progression:
        return number._replace(values=tuple(self.numbers[slot] for slot in number.values))

    def _fixed(self) -> dict[int, Any]:
        """Compute the operations that are the same in all steps."""
        fixed: dict[int, Any] = {}
        for place, operation in enumerate(self.body.operations):
            numbers = [self._number(each) for each in operation.numbers]
            kinds_known = all(
                source.kind == "outside" or (source.kind == "inside" and source.at in fixed)
                for source in operation.sources
            )
            if kinds_known and all(each.is_constant for each in numbers):
                fixed[place] = self._computed(
                    place, operation, [self._fixed_source(each, fixed) for each in operation.sources], numbers
                )
        return fixed

    def _fixed_source(self, source: Source, fixed: dict[int, Any]) -> Any:  # noqa: ANN401 - as above
        return self.references[source.at] if source.kind == "outside" else fixed[source.at]

    def _computed(self, place: int, operation: Operation, given: list[Any], numbers: list[Any]) -> Any:  # noqa: ANN401
        values = [each.values[0] if isinstance(each, Progression) else each for each in numbers]
        least = values[0] if operation.target == SCAN and isinstance(values[0], int) else 0
        outputs = self.inner_outputs.get(place, ())
        return evaluated(operation.target, operation.form, given, values, outputs, least)

    def _step(
        self,
        before: list[list[Any]],
        number_of: Callable[[int, int], Any],
        sequence_of: Callable[[Source], Any],
        given: Callable[[int], Any],
        skipped: Collection[int] = (),
    ) -> list[Any]:
        """Compute all operations of one step."""
        values: list[Any] = []
        for place, operation in enumerate(self.body.operations):
            if place in self.fixed or place in skipped:
                values.append(self.fixed.get(place))
                continue
            known = given(place)
            if known is _NOTHING:
                found = [self._value(each, values, before, sequence_of) for each in operation.sources]
                numbers = [number_of(place, at) for at in range(len(operation.numbers))]
                known = self._computed(place, operation, found, numbers)
            values.append(known)
        return values

    def _value(
        self, source: Source, values: list[Any], before: list[list[Any]], sequence_of: Callable[[Source], Any]
    ) -> Any:  # noqa: ANN401 - as above
        match source.kind:
            case "inside":
                return values[source.at]
            case "outside":
                return self.references[source.at]
            case "carried":
                return before[source.at][-1]
        return sequence_of(source)

    def _after(self, values: list[Any], before: list[list[Any]]) -> list[list[Any]]:
        return [
            [values[carry.operation], *earlier[:-1]] for carry, earlier in zip(self.body.carries, before, strict=True)
        ]

    def _unrolled(self) -> Scanned:
        """Run a fixed number of steps, one by one."""
        rows: dict[int, list[Any]] = {place: [] for place in self.outputs}
        registers = self.first
        for step in range(self.count):

            def sequence_of(source: Source, step: int = step) -> Any:  # noqa: ANN401 - as above
                if step < len(source.before):
                    return self.references[source.before[step]]
                first, distance = self.numbers[source.number : source.number + 2]
                return self.references[source.at].select(0, first + distance * (step - len(source.before)))

            def number_of(place: int, at: int, step: int = step) -> Any:  # noqa: ANN401 - as above
                return self._number(self.body.operations[place].numbers[at]).at(step)

            values = self._step(registers, number_of, sequence_of, lambda _: _NOTHING)
            registers = self._after(values, registers)
            for place, row in rows.items():
                row.append(values[place])
        return Scanned(registers, {place: torch.stack(row) if row else None for place, row in rows.items()})

    def _scanned(self, least: int) -> Scanned:
        """Run a dynamic number of steps as a scan."""
        inputs = _Inputs(self, pads=least < 1)  # ONNX has no scan of no steps: one more step is left out again
        operations, carries = self.body.operations, self.body.carries
        stacked = {
            place: inputs.whole(inputs.of_operation[place]) for place in self.outputs if place in inputs.of_operation
        }
        stacked |= {place: self._repeated(place) for place in self.outputs if place in self.fixed}
        outputs = [place for place in self.outputs if place not in stacked]
        writes = {number: carry.operation for number, carry in enumerate(carries) if self._only_written(number)}
        kept = [number for number in range(len(carries)) if number not in writes]
        if not kept and not outputs and not writes:
            return Scanned([], stacked)

        def combine(state: list[Tensor], taken: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            of_step = taken if inputs.has_steps else [taken[0], *taken]  # the step's number is first
            rest = iter(state)
            before = [
                [next(rest) for _ in first] if number in kept else first for number, first in enumerate(self.first)
            ]

            def sequence_of(source: Source) -> Any:  # noqa: ANN401 - as above
                return of_step[inputs.of_source[source]]

            def number_of(place: int, at: int) -> Any:  # noqa: ANN401 - as above
                if at == _END and place in inputs.lengths:
                    return inputs.lengths[place]
                number = inputs.of_number.get((place, at))
                return self._number(operations[place].numbers[at]).values[0] if number is None else of_step[number]

            def given(place: int) -> Any:  # noqa: ANN401 - as above
                number = inputs.of_operation.get(place)
                return _NOTHING if number is None else of_step[number]

            values = self._step(before, number_of, sequence_of, given, writes.values())
            results = [values[place] for place in outputs]
            results.extend(
                self._value(operations[place].sources[1], values, before, sequence_of) for place in writes.values()
            )
            after = self._after(values, before)
            states = [each for number in kept for each in after[number]] or list(state)
            if inputs.pads:
                states = [
                    torch.where(of_step[0] < self.count, new, old) for new, old in zip(states, state, strict=True)
                ]
            return states, results or [of_step[0]]

        initial = [each for number in kept for each in self.first[number]] or [torch.zeros(1)]
        final, results = scan(combine, initial, inputs.sequences(), dim=0)
        results = [each.narrow(0, 0, self.count) for each in results] if inputs.pads else results
        rest = iter(final)
        finals: list[Any] = [
            [next(rest) for _ in first] if number in kept else None for number, first in enumerate(self.first)
        ]
        for (number, place), values in zip(writes.items(), results[len(outputs) :], strict=False):
            dim, at = (self._number(each) for each in operations[place].numbers)
            finals[number] = [
                written(self.first[number][0], values, dim.values[0], at.values[0], at.values[1], self.count)
            ]
        return Scanned(finals, stacked | dict(zip(outputs, results, strict=False)))

    def _repeated(self, place: int) -> Tensor:
        value: Tensor = self.fixed[place]
        return value.expand(self.count, *value.shape)

    def _only_written(self, number: int) -> bool:
        """Whether a carried value is a tensor that no step reads, each writing to another place of it."""
        carry = self.body.carries[number]
        operation = self.body.operations[carry.operation]
        if operation.target is not _ATEN.select_scatter.default or carry.lag > 1 or carry.operation in self.outputs:
            return False
        uses = [
            source
            for each in self.body.operations
            for source in each.sources
            if source == Source("carried", number) or source == Source("inside", carry.operation)
        ]
        is_read = uses != [Source("carried", number)] or operation.sources[0] != uses[0]
        dim, at = (self._number(each) for each in operation.numbers)
        return not is_read and dim.is_constant and not at.is_constant


class _Inputs:
    """What a scan reads of each step: the step's number, sequences, parts of tensors, and numbers that change.

    Attributes:
        pads: Whether there is one step more than there are.
        of_source: By a sequence's source, its place among the inputs.
        of_operation: Places of results, by the place of their operation in the body.
        of_number: Places of a number's values, by the places of its operation and of the number.
        lengths: By the place of a slice that moves from step to step, its length.
    """

    def __init__(self, of: _Scan, *, pads: bool) -> None:
        self.pads = pads
        self._count = of.count
        self._steps = torch.arange(of.count + 1 if pads else of.count)
        self._wholes: list[Tensor] = []
        self._places: dict[Any, int] = {}
        self.of_source: dict[Source, int] = {}
        self.of_operation: dict[int, int] = {}
        self.of_number: dict[tuple[int, int], int] = {}
        self.lengths: dict[int, Any] = {}
        for place, operation in enumerate(of.body.operations):
            if place in of.fixed:
                continue
            for source in operation.sources:
                if source.kind == "sequence":
                    self._add_sequence(of, source)
            if not self._add_parts(of, place, operation):
                self._add_numbers(of, place, operation)

    @property
    def has_steps(self) -> bool:
        """Whether the numbers of the steps are an input: a scan needs one, and leaves out the step after the last."""
        return self.pads or not self._wholes

    def whole(self, number: int) -> Tensor:
        """Give all steps of an input."""
        return self._wholes[number - 1]

    def sequences(self) -> list[Tensor]:
        """Give all inputs, the numbers of the steps first if they are needed."""
        if not self.pads:
            return [self._steps, *self._wholes] if self.has_steps else self._wholes
        return [
            self._steps,
            *(
                each
                if len(each.shape) == 1 and _has_more(each, self._steps)
                else torch.cat([each, each.new_zeros((1, *each.shape[1:]))])
                for each in self._wholes
            ),
        ]

    def _place(self, key: Argument, whole: Tensor) -> int:
        """Number an input; under one key it is added once."""
        if key not in self._places:
            self._wholes.append(whole)
            self._places[key] = len(self._wholes)  # the numbers of the steps are before them
        return self._places[key]

    def _add_sequence(self, of: _Scan, source: Source) -> None:
        first, distance = of.numbers[source.number : source.number + 2]
        before = [of.references[each].unsqueeze(0) for each in source.before]
        rest = steps_of(of.references[source.at], first, distance, of.count - len(before) if before else of.count)
        self.of_source[source] = self._place(source, torch.cat([*before, rest]) if before else rest)

    def _add_parts(self, of: _Scan, place: int, operation: Operation) -> bool:
        """Whether an operation is one part of a tensor after another."""
        if operation.target is not _ATEN.select.int:
            return False
        (source,) = operation.sources
        dim, at = (of._number(each) for each in operation.numbers)  # noqa: SLF001 - of the same file
        is_known = source.kind == "outside" or (source.kind == "inside" and source.at in of.fixed)
        if not is_known or not dim.is_constant or at.is_constant or not isinstance(at.values[1], int):
            return False
        tensor: Tensor = of._fixed_source(source, of.fixed)  # noqa: SLF001 - of the same file
        first, distance = at.values
        key = (source, dim.values[0], str(first), distance)
        steps = steps_of(moved(tensor, dim.values[0], 0), first, distance, self._count)
        self.of_operation[place] = self._place(key, steps)
        return True

    def _add_numbers(self, of: _Scan, place: int, operation: Operation) -> None:
        for at, slots in enumerate(operation.numbers):
            number = of._number(slots)  # noqa: SLF001 - of the same file
            if operation.target is _ATEN.slice.Tensor and at == _START:
                end = of._number(operation.numbers[_END])  # noqa: SLF001 - of the same file
                if number.values[1] != end.values[1]:
                    raise NotRolled("the steps of a loop take parts of a tensor that have another size in each step")
                if not number.is_constant:
                    self.lengths[place] = end.values[0] - number.values[0]
            if number.is_constant or (at == _END and place in self.lengths):
                continue
            whole = all(isinstance(each, int | torch.SymInt) for each in number.values)
            dtype = torch.int64 if whole else torch.float64
            if not whole and is_tensor(operation.shape) and operation.shape[-1].is_floating_point:
                result: Any = operation.shape[-1]
            else:
                result = dtype
            key = (number.base, tuple(map(str, number.values)), result)
            values = number.at(self._steps.to(dtype)).to(result)
            self.of_number[place, at] = self._place(key, values)


def _has_more(each: Tensor, steps: Tensor) -> bool:
    return str(each.shape[0]) == str(steps.shape[0])


class Rolled(nn.Module):
    """Computes what a module computes, for all sizes."""

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
        for number, element in enumerate(elements):
            if element.target in (STATE, CONSTANT):
                name = element.form[0] if element.target == STATE else element.form[2]
                held = program.states if element.target == STATE else program.constants
                self.held[number] = self._hold(name, held[name])

    def _hold(self, path: str, value: Any) -> tuple[nn.Module, str]:  # noqa: ANN401 - a parameter or a buffer
        """Register a tensor under the user's name."""
        *folders, name = path.split(".")
        owner: nn.Module = self
        for folder in folders:
            if folder not in owner._modules:  # noqa: SLF001 - that a module has them is documented
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
                    values.append(getattr(*self.held[number]))
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
