"""The operations of a captured program, as items that can be compared across steps and across lengths.

`fitted` combines the programs of several lengths into one: the same operations, with numbers that are functions of the
sizes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from rnnserve.export.recurrence.refusals import PARTS, NotRolled
from rnnserve.export.recurrence.roll.tracing import Shape, Traced, shape_of
from rnnserve.export.recurrence.scan import BEGIN, END, is_marker, numbers_of
from rnnserve.export.source_lines import line_of_trace

__all__ = [
    "CONSTANT",
    "FINAL",
    "GIVEN",
    "LITERAL",
    "OUTPUT",
    "SCAN",
    "STACKED",
    "STATE",
    "Element",
    "Form",
    "Home",
    "Item",
    "Progression",
    "decoded",
    "fitted",
    "is_tensor",
    "items_of",
    "progression",
    "refuse_unlike",
]

INPUT, STATE, CONSTANT, LITERAL, OUTPUT = "input", "state", "constant", "literal", "output"
SCAN, STACKED, FINAL = "scan", "stacked", "final"
GIVEN = (INPUT, STATE, CONSTANT)
_ALONE = -1  # number of a scan whose begin marker is missing
_LARGEST_LITERAL = 64  # a constant with more values is compared by its hash, not as numbers of an item

Form = tuple[Any, ...]
"""An operator's arguments without variable parts: ("list", …), ("dict", (name, …), …), a reference or a number."""

REFERENCE: Form = ("reference",)


@dataclasses.dataclass(eq=False)
class Item:
    """An operation of a captured program, or a scan of several operations.

    Attributes:
        numbers: Numbers among its arguments, in the form's order. The first number of a scan is the number of steps.
        shape: Shape and dtype of its result, or shapes of a scan's body. Equal in all steps, but not at all lengths.
        outputs: For a scan, items with all steps of an output, by the place in the body.
        reads: For a scan, items with a single step of an output, or with a last value, in the program's order.
    """

    target: Any  # the operator, or any of the names above
    form: Form  # structure of its arguments; for a scan, its carried values and its body
    references: list["Item"] = dataclasses.field(default_factory=list)  # items among its arguments, in the form's order
    numbers: list[Any] = dataclasses.field(default_factory=list)
    shape: Shape = ""
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)  # the operation's place in user code
    digits: float = 1e-9  # relative precision of the numbers
    key: int = -1  # equal for items that differ only in references and numbers
    position: int = -1  # index in the program, or -1 if it is in none
    home: "Home | None" = None  # for an item replaced by a scan: the scan, the step, and the place in its body
    outputs: dict[int, "Item"] = dataclasses.field(default_factory=dict)
    reads: dict[Any, "Item"] = dataclasses.field(default_factory=dict)
    before: list["Item"] = dataclasses.field(default_factory=list)  # for a scan, some of the preceding items

    def set_key(self, keys: dict[Any, int]) -> None:
        """Set the number that this item shares with similar items."""
        self.key = keys.setdefault((self.target, self.form, self.shape), len(keys))


class Home(NamedTuple):
    """The position in a scan that replaces an item."""

    scan: Item
    step: int
    place: int


class Progression(NamedTuple):
    """A number as a function of the step k, by a formula in `_PROGRESSIONS`.

    `values` are the formula's other arguments: numbers, or their places in a scan's numbers.
    """

    base: str
    values: tuple[Any, ...]

    @property
    def is_constant(self) -> bool:
        """Whether the number is the same in all steps."""
        return self.base == "sum" and isinstance(self.values[1], int) and self.values[1] == 0

    def at(self, step: Any) -> Any:  # noqa: ANN401 - a number for a number, a tensor for a tensor
        """Return the number at a step, or the numbers at a tensor of steps."""
        if self.is_constant:
            return self.values[0]
        if isinstance(step, Tensor) and step.is_floating_point():  # plain numbers would be float32 in ONNX
            values = (each if _is_zero(each) else torch.as_tensor(each, dtype=step.dtype) for each in self.values)
            return _PROGRESSIONS[self.base](step, *values)
        return _PROGRESSIONS[self.base](step, *self.values)


def _sum(step: Any, first: Any, change: Any) -> Any:  # noqa: ANN401 - as in `Progression.at`
    value = step if isinstance(change, int) and change == 1 else change * step
    return value if _is_zero(first) else first + value


def _product(step: Any, first: Any, change: Any, plus: Any) -> Any:  # noqa: ANN401 - as in `Progression.at`
    value = first * change**step
    return value if _is_zero(plus) else value + plus


def _inverse(step: Any, first: Any, change: Any, plus: Any) -> Any:  # noqa: ANN401 - as in `Progression.at`
    value = 1 / _sum(step, first, change)
    return value if _is_zero(plus) else value + plus


def _logarithm(step: Any, first: Any, change: Any) -> Any:  # noqa: ANN401 - as in `Progression.at`
    value = _sum(step, first, change)
    return value.log() if isinstance(value, Tensor) else math.log(value)


def _is_zero(value: Any) -> bool:  # noqa: ANN401 - a number, a symbol or a tensor
    return isinstance(value, int | float) and value == 0


_PROGRESSIONS: Mapping[str, Callable[..., Any]] = {
    "sum": _sum,
    "product": _product,
    "inverse": _inverse,
    "inverse of a product": lambda step, *values: 1 / _product(step, *values),
    "root": lambda step, *values: _sum(step, *values) ** 0.5,
    "inverse root": lambda step, *values: _sum(step, *values) ** -0.5,
    "square": lambda step, *values: _sum(step, *values) ** 2,
    "inverse square": lambda step, *values: _sum(step, *values) ** -2,
    "logarithm": _logarithm,
}
_ARGUMENTS: Mapping[str, Callable[[float], float]] = {
    "sum": lambda value: value,
    "root": lambda value: value**2,
    "inverse root": lambda value: value**-2,
    "square": lambda value: value**0.5,
    "inverse square": lambda value: value**-0.5,
    "logarithm": math.exp,
}
"""Inverses of formulas that take a sum: they compute the sum from a value."""


def progression(seen: Sequence[Any], digits: float) -> Progression | None:
    """Find a function of the step that matches all numbers within relative digits, or return None if there is none."""
    first, second = seen[:2]
    if all(each == first for each in seen):
        return Progression("sum", (first, 0))
    if isinstance(first, int):
        sums = [Progression("sum", (first, second - first))]
        if min(seen) >= 0:
            sums.append(Progression("square", (math.isqrt(first), math.isqrt(second) - math.isqrt(first))))
        return next((found for found in sums if all(each == found.at(k) for k, each in enumerate(seen))), None)
    if not all(map(math.isfinite, seen)):
        return None
    for candidate in _CANDIDATES:
        with contextlib.suppress(ArithmeticError, TypeError, ValueError):  # for numbers outside the formula's domain
            found = candidate(seen)
            if all(abs(each - found.at(k)) <= digits * abs(each) for k, each in enumerate(seen)):
                return found
    return None


def _of_a_sum(base: str, seen: Sequence[float]) -> Progression:
    """Compute the arguments for a function of a sum."""
    first, last = _ARGUMENTS[base](seen[0]), _ARGUMENTS[base](seen[-1])
    return Progression(base, (first, (last - first) / (len(seen) - 1)))


def _of_a_product(seen: Sequence[float]) -> Progression:
    return Progression("product", (seen[0], seen[1] / seen[0], 0.0))


def _of_a_product_and_more(base: str, seen: Sequence[float]) -> Progression:
    """Compute the arguments for a product plus a number, or for its inverse."""
    apart, one, two, three = _three_of(seen if base == "product" else [1 / each for each in seen])
    plus = _nearby((one * three - two * two) / (one + three - 2 * two))
    return Progression(base, (one - plus, math.pow((two - plus) / (one - plus), 1 / apart), plus))


def _of_an_inverse(seen: Sequence[float], plus: float = 0.0) -> Progression:
    first, last = 1 / (seen[0] - plus), 1 / (seen[-1] - plus)
    return Progression("inverse", (first, (last - first) / (len(seen) - 1), plus))


def _of_an_inverse_and_more(seen: Sequence[float]) -> Progression:
    """Compute the arguments for the inverse of a sum, plus a number, such as t / (t + 1)."""
    _, one, two, three = _three_of(seen)
    return _of_an_inverse(seen, _nearby((2 * one * three - two * (one + three)) / (one + three - 2 * two)))


def _three_of(seen: Sequence[float]) -> tuple[int, float, float, float]:
    """Return a distance, and three numbers at this distance."""
    apart = (len(seen) - 1) // 2
    return apart, seen[0], seen[apart], seen[2 * apart]


def _nearby(value: float) -> float:
    """Return a rounded number if the computed value is close to it, else the value."""
    return round(value, 9) if abs(value - round(value, 9)) < 1e-10 else value


_CANDIDATES: Sequence[Callable[[Sequence[float]], Progression]] = (
    functools.partial(_of_a_sum, "sum"),
    _of_a_product,
    _of_an_inverse,
    *(functools.partial(_of_a_sum, base) for base in _ARGUMENTS if base != "sum"),
    functools.partial(_of_a_product_and_more, "product"),
    _of_an_inverse_and_more,
    functools.partial(_of_a_product_and_more, "inverse of a product"),
)


def is_tensor(shape: object) -> bool:
    """Whether an item with this shape returns a single tensor."""
    return isinstance(shape, tuple) and shape != () and isinstance(shape[-1], torch.dtype)


def items_of(program: Traced) -> list[Item]:
    """Read the items of a functional program, with each constant before its first use."""
    states = list(program.states)
    items: dict[fx.Node, Item] = {}
    for number, node in enumerate(program.graph.nodes):
        references: list[Any] = []
        numbers: list[Any] = []
        value = node.meta.get("val")
        match node.op:
            case "placeholder" if number < len(states):
                item = Item(STATE, (states[number],), shape=shape_of(value))
            case "placeholder":
                item = Item(INPUT, (number - len(states),), shape=shape_of(value))
            case "get_attr":
                item = _constant(node.target, program.constants[node.target])
            case "call_function":
                form = _encoded_call(node, references, numbers)
                item = Item(node.target, form, numbers=numbers, shape=shape_of(value), meta=meta_of(node))
            case "output":
                item = Item(OUTPUT, _encoded(node.args[0], references, numbers), numbers=numbers)
            case _:
                raise NotRolled(f"the traced program has a node {node.op} {node.target}, which is not an operator")
        item.references = [items[each] for each in references]
        items[node] = item
    return list(_where_used(items.values()))


def meta_of(node: fx.Node) -> dict[str, Any]:
    """Return the metadata that locates a node in user code."""
    return {key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if node.meta.get(key)}


def _encoded_call(node: fx.Node, references: list[Any], numbers: list[Any]) -> Form:
    args, kwargs = list(node.args), dict(node.kwargs)
    if node.target is operator.getitem:
        return ("list", ("list", _encoded(args[0], references, numbers), ("value", args[1])), ("dict",))
    if is_marker(node, BEGIN) or is_marker(node, END):  # the first attribute, the scan's number, differs between steps
        _, *rest = kwargs["attr_ints"]  # type: ignore[misc] # as torch.onnx.ops writes attributes
        kwargs["attr_ints"] = [
            ("number of the scan",) if _has_begun(node) else ("value", _ALONE),
            *(("value", each) for each in rest),
        ]
    return ("list", _encoded(args, references, numbers), _encoded(kwargs, references, numbers))


def _has_begun(marker: fx.Node) -> bool:
    """Whether a graph contains a scan's begin marker. It is missing if no value uses the step."""
    number = numbers_of(marker)[0]
    return any(is_marker(each, BEGIN) and numbers_of(each)[0] == number for each in marker.graph.nodes)


def _encoded(value: Any, references: list[Any], numbers: list[Any]) -> Form:  # noqa: ANN401 - an argument
    if isinstance(value, fx.Node):
        references.append(value)
        return REFERENCE
    if isinstance(value, dict):
        return ("dict", *((name, _encoded(each, references, numbers)) for name, each in value.items()))
    if isinstance(value, tuple) and value and value[0] in ("value", "number of the scan"):
        return value
    if isinstance(value, list | tuple):
        return ("list", *(_encoded(each, references, numbers) for each in value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        numbers.append(value)
        return ("number", type(value).__name__)
    return ("value", value)


def decoded(form: Form, references: Iterator[Any], numbers: Iterator[Any]) -> Any:  # noqa: ANN401 - arguments
    """Return the arguments that a form describes."""
    match form[0]:
        case "list":
            return [decoded(each, references, numbers) for each in form[1:]]
        case "dict":
            return {name: decoded(each, references, numbers) for name, each in form[1:]}
        case "reference":
            return next(references)
        case "number":
            return next(numbers)
        case "value":
            return form[1]
        case "number of the scan":
            return None
    raise AssertionError(form)


def _constant(name: str, value: Tensor) -> Item:
    if hasattr(value, "fake_mode"):
        raise NotRolled("the module creates a tensor in torch.vmap or another transform, inside its loop or elsewhere")
    if value.numel() <= _LARGEST_LITERAL and not value.is_complex():
        form = (value.dtype, tuple(value.shape))
        digits = 1e-9 if value.dtype is torch.float64 or not value.is_floating_point() else 2e-7
        return Item(LITERAL, form, numbers=value.flatten().tolist(), shape=shape_of(value), digits=digits)
    digest = hashlib.sha256(value.contiguous().numpy(force=True).tobytes()).hexdigest()
    return Item(CONSTANT, (digest, shape_of(value), name), shape=shape_of(value))


def _where_used(items: Any) -> Iterator[Item]:  # noqa: ANN401 - items
    """Yield the items, with equal constants merged and each literal before its first use."""
    first: dict[Any, Item] = {}
    instead: dict[int, Item] = {}
    waiting: dict[int, Item] = {}
    for item in items:
        item.references = [instead.get(id(each), each) for each in item.references]
        for each in item.references:
            if id(each) in waiting:
                yield waiting.pop(id(each))
        if item.target == LITERAL:
            waiting[id(item)] = item
            continue
        if item.target == CONSTANT:
            kept = first.setdefault(item.form[:2], item)
            if kept is not item:
                instead[id(item)] = kept
                continue
        yield item


_LARGEST_DIVISOR = 12
_NEAR = 1e-9

Sizes = Mapping[str, Any]
"""Sizes of a program's axes, by name: numbers for a capture at fixed sizes, or symbols for a capture of all sizes."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A number as a function of sizes: factor * ((size + plus) // divisor) + ... + offset, or its inverse."""

    terms: tuple[tuple[Any, tuple[str, ...], int, int], ...]  # each: factor, axes (sizes are multiplied), plus, divisor
    offset: Any
    is_inverse: bool = False

    def __call__(self, sizes: Sizes) -> Any:  # noqa: ANN401 - a number, a symbol, or a tensor
        """Compute the number. It is a float64 tensor if it is a float and depends on a symbolic size."""
        value = self.offset
        for factor, axes, plus, divisor in self.terms:
            size: Any = 1
            for axis in axes:
                size = size * sizes[axis]
            whole = size if divisor == 1 else (size + plus) // divisor
            if isinstance(whole, torch.SymInt) and not self.is_whole:
                whole = torch.full((), whole, dtype=torch.float64)  # type: ignore[call-overload] # takes symbols
            if isinstance(whole, torch.Tensor):  # plain numbers would be float32 in ONNX
                factor, value = (torch.full((), each, dtype=torch.float64) for each in (factor, value))
            term = whole if isinstance(factor, int) and factor == 1 else factor * whole
            value = term if isinstance(value, int) and value == 0 else term + value
        return 1 / value if self.is_inverse else value

    @property
    def is_whole(self) -> bool:
        """Whether the number is an int."""
        return not self.is_inverse and all(
            isinstance(each, int) for each in (self.offset, *(factor for factor, *_ in self.terms))
        )

    @property
    def divides(self) -> bool:
        """Whether the formula divides a size."""
        return any(divisor > 1 for *_, divisor in self.terms)

    @classmethod
    def of(cls, values: Sequence[Any], points: Sequence[Sizes], digits: float = 1e-9) -> "Fit | None":
        """Find the function that returns these numbers at these sizes, or return None if no simple function does."""
        first = values[0]
        near = digits * abs(first) if isinstance(first, float) else 0
        if all(each == first or abs(each - first) <= near for each in values):
            return cls((), first)
        varying = [name for name in points[0] if len({point[name] for point in points}) > 1]
        if all(isinstance(each, int) for each in values):
            return cls._linear(values, points, varying, whole=True)
        found = cls._linear(values, points, varying, whole=False)
        if found is None and all(values):
            found = cls._linear([1 / each for each in values], points, varying, whole=False)
            found = found and dataclasses.replace(found, is_inverse=True)
        return found

    @classmethod
    def _linear(
        cls, values: Sequence[Any], points: Sequence[Sizes], varying: Sequence[str], *, whole: bool
    ) -> "Fit | None":
        products = [axes for count in range(1, len(varying) + 1) for axes in itertools.combinations(varying, count)]
        divisors = [(plus, by) for by in range(1, _LARGEST_DIVISOR + 1 if whole else 2) for plus in range(by)]
        for (plus, divisor), count in itertools.product(divisors, range(1, len(points) - 1)):
            for chosen in itertools.combinations(products, count):
                rows = [[(_size_of(point, axes) + plus) // divisor for axes in chosen] for point in points]
                system = np.array([[*row, 1] for row in rows], np.float64)
                if np.linalg.matrix_rank(system) <= count:
                    continue
                *factors, offset = map(_rounded, np.linalg.lstsq(system, np.array(values, np.float64))[0].tolist())
                if whole and not all(isinstance(each, int) for each in (*factors, offset)):
                    continue
                near = _NEAR * max(map(abs, values))
                found = [sum(map(operator.mul, row, factors)) + offset for row in rows]
                if all(abs(one - other) <= near for one, other in zip(found, values, strict=True)):
                    terms = zip(factors, chosen, itertools.repeat(plus), itertools.repeat(divisor))
                    return cls(tuple(each for each in terms if each[0] != 0), offset if whole else float(offset))
        return None


def _size_of(point: Sizes, axes: tuple[str, ...]) -> int:
    size = 1
    for axis in axes:
        size *= point[axis]
    return size


def _rounded(value: float) -> Any:  # noqa: ANN401 - an int if it is whole
    return round(value) if abs(value - round(value)) < _NEAR * max(1, abs(value)) else value


@dataclasses.dataclass(frozen=True)
class Element:
    """An operation of the program for all sizes."""

    target: Any  # as in an `Item`
    form: Form  # as in an `Item`
    references: tuple[int, ...]  # positions of other elements
    numbers: tuple[Fit, ...]  # functions of the sizes
    shape: Shape  # shape of the item in the first capture
    meta: Mapping[str, Any]  # the operation's place in user code

    @property
    def looped(self) -> set[str]:
        """The axes whose sizes are numbers of steps of a scan, or of its inner scans."""
        if self.target != SCAN:
            return set()
        operations: Any = self.form.operations  # type: ignore[attr-defined] # a `Body`
        slots = [0, *(each.numbers[0].values[0] for each in operations if each.target == SCAN)]
        return {axis for slot in slots for _, axes, *_ in self.numbers[slot].terms for axis in axes}


def refuse_unlike(programs: Sequence[Sequence[Item]]) -> None:
    """Refuse programs whose operations or references differ. Only their numbers may differ."""
    positions = [{id(item): number for number, item in enumerate(items)} for items in programs]
    for items in itertools.zip_longest(*programs):
        if None in items or len({(each.target, _comparable(each)) for each in items}) > 1:
            if all(each is not None and each.target in (LITERAL, CONSTANT) for each in items):
                raise NotRolled(
                    "a tensor is made from numbers of Python or NumPy that depend on the size of an axis. Write "
                    "torch.arange(n), not torch.tensor(list(range(n))) or np.arange(n), and torch.zeros, not np.zeros"
                )
            raise NotRolled(
                f"more steps do not repeat the computation of fewer steps{_place(items)}. Instead of x[:, "
                f":t], write torch.where(torch.arange(n) < t, …). {PARTS}. Instead of a list that grows, use a tensor "
                "with all steps: past = h.new_zeros(batch, n, size), past[:, t] = h, and a mask, torch.arange(n) <= t. "
                "Keep a window in a tensor: window = torch.cat([window[:, 1:], x[:, t : t + 1]], dim=1). Instead of a "
                "number such as math.cos(0.1 * t), read from a tensor that is computed before the loop, torch.cos(0.1 "
                "* torch.arange(n))[t]"
            )
        references = {
            tuple(where[id(each)] for each in item.references) for item, where in zip(items, positions, strict=True)
        }
        if len(references) > 1:
            raise NotRolled(f"a step uses a different value if the sequence is longer{_place(items)}")


def fitted(programs: Sequence[Sequence[Item]], points: Sequence[Sizes]) -> list[Element]:
    """Combine the items of all captures, which have the same operations, into a list of elements."""
    positions = {id(item): number for number, item in enumerate(programs[0])}
    elements = []
    for items in zip(*programs, strict=True):
        numbers = []
        for values in zip(*(each.numbers for each in items), strict=True):
            fit = Fit.of(values, points, items[0].digits)
            if fit is None:
                raise NotRolled(
                    f"a number depends on the size of an axis{_place(items)} in a way that is not a simple formula "
                    f"({', '.join(map(str, values))} for sizes {', '.join(_shown(each) for each in points)}). "
                    "Compute it as a tensor: torch.tensor(n).sqrt(), not math.sqrt(n) or np.sqrt(n)"
                )
            numbers.append(fit)
        first = items[0]
        references = tuple(positions[id(each)] for each in first.references)
        elements.append(Element(first.target, first.form, references, tuple(numbers), first.shape, first.meta))
    return elements


def _comparable(item: Item) -> Any:  # noqa: ANN401 - a form without shapes, which depend on the length
    return item.form.without_shapes() if hasattr(item.form, "without_shapes") else item.form


def _shown(sizes: Sizes) -> str:
    return "/".join(map(str, sizes.values()))


def _place(items: Sequence[Item | None]) -> str:
    """Return the first line of user code among items."""
    return next((place for each in items if each is not None and (place := line_of_trace(each.meta))), "")
