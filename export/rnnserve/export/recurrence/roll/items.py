"""The operations of a captured program, as items that can be compared with those of other steps and other lengths."""

import contextlib
import dataclasses
import functools
import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from rnnserve.export.recurrence.refusals import NotRolled
from rnnserve.export.recurrence.roll.tracing import Shape, Traced, shape_of
from rnnserve.export.recurrence.scan import BEGIN, END, is_marker, numbers_of

__all__ = [
    "CONSTANT",
    "FINAL",
    "GIVEN",
    "LITERAL",
    "OUTPUT",
    "SCAN",
    "STACKED",
    "STATE",
    "Form",
    "Home",
    "Item",
    "Progression",
    "decoded",
    "is_tensor",
    "items_of",
    "progression",
]

INPUT, STATE, CONSTANT, LITERAL, OUTPUT = "input", "state", "constant", "literal", "output"
SCAN, STACKED, FINAL = "scan", "stacked", "final"
GIVEN = (INPUT, STATE, CONSTANT)
_ALONE = -1  # number of a scan whose beginning has gone
_LARGEST_LITERAL = 64  # values of a constant that are numbers of an item

Form = tuple[Any, ...]
"""Arguments of an operator without what may differ: ("list", …), ("dict", (name, …), …), a reference or a number."""

REFERENCE: Form = ("reference",)


@dataclasses.dataclass(eq=False)
class Item:
    """One operation of a captured program, or one scan of several.

    Attributes:
        numbers: Numbers among its arguments, likewise. The first of a scan is the number of steps.
        shape: Shape and dtype of its result, or those of a scan's body: equal in all steps, not at all lengths.
        outputs: Of a scan, the items that are all steps of an output, by the place in its body.
        reads: Of a scan, the items that are one step of an output, or a last value, in the order of the program.
    """

    target: Any  # the operator, or one of the names above
    form: Form  # structure of its arguments; of a scan, its carried values and its body
    references: list["Item"] = dataclasses.field(default_factory=list)  # items among its arguments, in the form's order
    numbers: list[Any] = dataclasses.field(default_factory=list)
    shape: Shape = ""
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)  # where the operation is in the user's code
    digits: float = 1e-9  # relative precision of the numbers
    key: int = -1  # equal for items that differ in references and numbers only
    position: int = -1  # place in the program; -1 if it stands in none
    home: "Home | None" = None  # of an item that a scan has replaced: the scan, the step, and the place in its body
    outputs: dict[int, "Item"] = dataclasses.field(default_factory=dict)
    reads: dict[Any, "Item"] = dataclasses.field(default_factory=dict)
    before: list["Item"] = dataclasses.field(default_factory=list)  # of a scan, some of the items before it

    def set_key(self, keys: dict[Any, int]) -> None:
        """Number the item among alike ones."""
        self.key = keys.setdefault((self.target, self.form, self.shape), len(keys))


class Home(NamedTuple):
    """What of a scan stands in the place of an item."""

    scan: Item
    step: int
    place: int


class Progression(NamedTuple):
    """A number as a function of the step k, one of `_PROGRESSIONS`.

    `values` are what the function takes beside the step: numbers, or where a scan has them.
    """

    base: str
    values: tuple[Any, ...]

    @property
    def is_constant(self) -> bool:
        """Whether the number is the same in all steps."""
        return self.base == "sum" and isinstance(self.values[1], int) and self.values[1] == 0

    def at(self, step: Any) -> Any:  # noqa: ANN401 - of a number a number, of a tensor a tensor
        """Give the number of a step, or those of a tensor of steps."""
        if self.is_constant:
            return self.values[0]
        if isinstance(step, Tensor) and step.is_floating_point():  # numbers would be of float32 in ONNX
            values = (each if _is_zero(each) else torch.as_tensor(each, dtype=step.dtype) for each in self.values)
            return _PROGRESSIONS[self.base](step, *values)
        return _PROGRESSIONS[self.base](step, *self.values)


def _sum(step: Any, first: Any, change: Any) -> Any:  # noqa: ANN401 - as of `Progression.at`
    value = step if isinstance(change, int) and change == 1 else change * step
    return value if _is_zero(first) else first + value


def _product(step: Any, first: Any, change: Any, plus: Any) -> Any:  # noqa: ANN401 - as of `Progression.at`
    value = first * change**step
    return value if _is_zero(plus) else value + plus


def _inverse(step: Any, first: Any, change: Any, plus: Any) -> Any:  # noqa: ANN401 - as of `Progression.at`
    value = 1 / _sum(step, first, change)
    return value if _is_zero(plus) else value + plus


def _logarithm(step: Any, first: Any, change: Any) -> Any:  # noqa: ANN401 - as of `Progression.at`
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
"""By functions of sums, which sum gives a value."""


def progression(seen: Sequence[Any], digits: float) -> Progression | None:
    """Find the function of the step that gives the numbers of all steps, within relative digits; None if none does."""
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
        with contextlib.suppress(ArithmeticError, TypeError, ValueError):  # of other numbers than it takes
            found = candidate(seen)
            if all(abs(each - found.at(k)) <= digits * abs(each) for k, each in enumerate(seen)):
                return found
    return None


def _of_a_sum(base: str, seen: Sequence[float]) -> Progression:
    """Take the values for a function of a sum."""
    first, last = _ARGUMENTS[base](seen[0]), _ARGUMENTS[base](seen[-1])
    return Progression(base, (first, (last - first) / (len(seen) - 1)))


def _of_a_product(seen: Sequence[float]) -> Progression:
    return Progression("product", (seen[0], seen[1] / seen[0], 0.0))


def _of_a_product_and_more(base: str, seen: Sequence[float]) -> Progression:
    """Take the values for a product to which a number is added, or the inverse of that."""
    apart, one, two, three = _three_of(seen if base == "product" else [1 / each for each in seen])
    plus = _nearby((one * three - two * two) / (one + three - 2 * two))
    return Progression(base, (one - plus, math.pow((two - plus) / (one - plus), 1 / apart), plus))


def _of_an_inverse(seen: Sequence[float], plus: float = 0.0) -> Progression:
    first, last = 1 / (seen[0] - plus), 1 / (seen[-1] - plus)
    return Progression("inverse", (first, (last - first) / (len(seen) - 1), plus))


def _of_an_inverse_and_more(seen: Sequence[float]) -> Progression:
    """Take the values for the inverse of a sum to which a number is added, such as t / (t + 1)."""
    _, one, two, three = _three_of(seen)
    return _of_an_inverse(seen, _nearby((2 * one * three - two * (one + three)) / (one + three - 2 * two)))


def _three_of(seen: Sequence[float]) -> tuple[int, float, float, float]:
    """Give three numbers at one distance, which is first."""
    apart = (len(seen) - 1) // 2
    return apart, seen[0], seen[apart], seen[2 * apart]


def _nearby(value: float) -> float:
    """Give the number of few digits that a computed one is nearly."""
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
    """Whether an item of this shape gives one tensor."""
    return isinstance(shape, tuple) and shape != () and isinstance(shape[-1], torch.dtype)


def items_of(program: Traced) -> list[Item]:
    """Read the items of a functional program, constants where they are first used."""
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
                raise NotRolled(f"the traced program has a node {node.op} {node.target}, which is no operator")
        item.references = [items[each] for each in references]
        items[node] = item
    return list(_where_used(items.values()))


def meta_of(node: fx.Node) -> dict[str, Any]:
    """Give where a node is in the user's code, as nodes hold it."""
    return {key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if node.meta.get(key)}


def _encoded_call(node: fx.Node, references: list[Any], numbers: list[Any]) -> Form:
    args, kwargs = list(node.args), dict(node.kwargs)
    if node.target is operator.getitem:
        return ("list", ("list", _encoded(args[0], references, numbers), ("value", args[1])), ("dict",))
    if is_marker(node, BEGIN) or is_marker(node, END):  # its own scan's number first, which differs from step to step
        _, *rest = kwargs["attr_ints"]  # type: ignore[misc] # as torch.onnx.ops writes attributes
        kwargs["attr_ints"] = [
            ("number of the scan",) if _has_begun(node) else ("value", _ALONE),
            *(("value", each) for each in rest),
        ]
    return ("list", _encoded(args, references, numbers), _encoded(kwargs, references, numbers))


def _has_begun(marker: fx.Node) -> bool:
    """Whether a graph has the beginning of a scan: it has gone if no value uses the step."""
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
    """Give the arguments of a form."""
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
        raise NotRolled("the module makes a tensor in torch.vmap or another transform, within its loop or elsewhere")
    if value.numel() <= _LARGEST_LITERAL and not value.is_complex():
        form = (value.dtype, tuple(value.shape))
        digits = 1e-9 if value.dtype is torch.float64 or not value.is_floating_point() else 2e-7
        return Item(LITERAL, form, numbers=value.flatten().tolist(), shape=shape_of(value), digits=digits)
    digest = hashlib.sha256(value.contiguous().numpy(force=True).tobytes()).hexdigest()
    return Item(CONSTANT, (digest, shape_of(value), name), shape=shape_of(value))


def _where_used(items: Any) -> Iterator[Item]:  # noqa: ANN401 - items
    """Give items with one constant for all of equal values, and each literal where it is first used."""
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
