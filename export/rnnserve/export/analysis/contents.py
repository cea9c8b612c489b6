"""Values that are known before anything runs: numbers, and what a graph computes of its sizes, as sizes again."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnserve.export.analysis.flow import Node
from rnnserve.export.analysis.sizes import Size, computed, maximum, minimum, quotient
from rnnserve.export.analysis.values import FREE, Content, NotCovered, Value, fill_of

_INTEGERS = {2, 3, 4, 5, 6, 7, 12, 13}  # the integer types of TensorProto
_WIDE_INTEGERS = {6, 7, 12, 13}

_NUMERIC: Mapping[str, Callable[..., Any]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Abs": np.abs,
    "Sign": np.sign,
}
_EXACT: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Neg": np.negative,
}
"""Operators of integers whose results are polynomials if their inputs are."""


def symbolic(sizes: Sequence[Size]) -> Content:
    """Give an array of sizes (n,), of integers if all are."""
    numbers = [size.number for size in sizes]
    if None not in numbers:
        return np.array(numbers, np.int64)
    content = np.empty(len(sizes), object)
    content[:] = sizes
    return content


def with_content(node: Node, value: Value) -> Value:
    """Complete the record of a result with its values, if they are known.

    A tensor whose values are all known depends on what these depend on, value by value, and on no more: the Shape of
    `x` reads the number of rows, but `x.std(-1)` takes the number of features alone from it, which no row changes.
    """
    content = value.few if value.content is not None else _computed(node, value)
    if content is None:
        return value
    fill = value.fill if content.dtype == object else fill_of(content)
    value = dataclasses.replace(value, content=content, fill=fill)
    if content.dtype.kind not in "fiubO" or value.size_numbers != list(content.shape):
        return value
    sizes = [each for each in content.ravel().tolist() if isinstance(each, Size)]
    tainted = frozenset[str]().union(*(size.tainted for size in sizes))
    tracks = {key: value.track(key) if key[1] in tainted else FREE for key in node.keys}
    return dataclasses.replace(value, tracks=tracks)


def _computed(node: Node, result: Value) -> Content | None:
    shape, contents = result.size_numbers, [value.few for value in node.given]
    if shape is None or not contents or contents[0] is None:
        return None
    known = [content for content in contents if content is not None]
    try:
        if node.operator in _REARRANGED:
            return np.asarray(_REARRANGED[node.operator](node, known, shape)) if len(known) == len(contents) else None
        function = _function(node, known) if len(known) == len(contents) else None
        found = None if function is None else np.asarray(function(*known))
    except (ArithmeticError, IndexError, NotCovered, TypeError, ValueError):
        return None
    is_whole = found is None or found.dtype != object or not any(each is None for each in found.ravel().tolist())
    return found if is_whole else None


def _reshaped(_: Node, contents: Sequence[Content], shape: list[int]) -> Content:
    return contents[0].reshape(shape)


def _reduced(node: Node, contents: Sequence[Content], shape: list[int]) -> Content | None:
    function = np.prod if node.operator == "ReduceProd" else np.sum
    if contents[0].dtype.kind not in "iuO":
        return None
    axes = node.axes(contents[0].ndim) or range(contents[0].ndim)
    return np.asarray(function(contents[0], axis=tuple(axes))).reshape(shape)


_REARRANGED: Mapping[str, Callable[[Node, Sequence[Content], list[int]], Any]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    **dict.fromkeys(("ReduceProd", "ReduceSum"), _reduced),
    "Expand": lambda _, contents, shape: np.broadcast_to(contents[0], shape),
    "Transpose": lambda node, contents, _: contents[0].transpose(node.attribute("perm")),
    "Gather": lambda node, contents, _: np.take(contents[0], contents[1].astype(int), int(node.attribute("axis", 0))),
    "Concat": lambda node, contents, _: np.concatenate(contents, int(node.attribute("axis"))),
}


def _function(node: Node, known: Sequence[Content]) -> Callable[..., Any] | None:
    """Give what computes the values of an elementwise operator's result. None if they are not looked into."""
    operator = node.operator
    kinds = {content.dtype.kind for content in known}
    if operator == "Identity":
        return np.asarray
    if operator == "Cast":
        to = int(node.attribute("to"))
        if "O" in kinds:
            return np.asarray if to in _WIDE_INTEGERS else None
        return (lambda content: content.astype(np.int64)) if to in _INTEGERS and kinds <= set("iub") else None
    if operator in _EXACT and kinds <= set("iO" if operator == "Neg" else "iuO"):
        return _EXACT[operator]
    if operator == "Where" and known[0].dtype.kind == "b" and kinds <= set("iubO"):
        return np.where
    if operator == "Div" and kinds <= set("iuO"):
        return _by_entry(_divided)
    if operator == "Mod" and kinds <= set("iu") and not node.attribute("fmod"):
        # The remainder has the sign of the divisor, as ONNX's does of integers: torch.roll cuts an axis there.
        return _by_entry(lambda number, by: number % by if by else None)
    if operator in ("Max", "Min") and kinds <= set("iuO") and len(known) == 2:
        choose = maximum if operator == "Max" else minimum
        return _by_entry(lambda number, other: choose(Size.of(number), Size.of(other)))
    if "O" in kinds:
        return _by_entry(_equal) if operator == "Equal" else None
    return _NUMERIC.get(operator)


def _by_entry(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = np.frompyfunc(function, 2, 1)
    return made


def _divided(number: int | Size, by: int | Size) -> int | Size | None:
    """Divide integers as ONNX does. Sizes that are no polynomial then are a computation of their own."""
    first, second = Size.of(number), Size.of(by)
    if first.number is not None and second.number is not None:
        return int(first.number / second.number) if second.number else None
    exact = quotient(first, second) if second.terms else None
    if exact is not None:
        return exact
    return computed("floor", first, second, lowest=0) if first.at_least(0) and second.at_least(1) else None


def _equal(number: int | Size, other: int | Size) -> bool | None:
    """Compare sizes: polynomials that differ by a number that is not 0 are never equal. Others may be."""
    first, second = Size.of(number), Size.of(other)
    if first == second:
        return True
    return False if first.at_least(second + 1) or second.at_least(first + 1) else None
