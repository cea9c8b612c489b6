"""Values that are computed of sizes: what a graph makes of shapes, as sizes again."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.sizes import Size, computed, maximum, minimum, quotient
from rnnserve.export.dataflow.values import MOST_CONTENT, Content, Value

__all__ = ["computed_content", "content_of", "symbolic"]

_INTEGERS = {2, 3, 4, 5, 6, 7, 12, 13}  # the integer types of TensorProto

_NUMERIC: dict[str, Callable[..., Any]] = {
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

_EXACT: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Neg": np.negative,
}
"""Operators of integers whose results are polynomials where their inputs are."""


def symbolic(sizes: list[Size]) -> Content:
    """Give an array of sizes (n,), of integers where all are."""
    if all(size.number is not None for size in sizes):
        return np.array([size.number for size in sizes], np.int64)
    array = np.empty(len(sizes), object)
    array[:] = sizes
    return array


def content_of(value: Value) -> Content | None:
    """Give a tensor's values, integers or sizes, as far as they are few."""
    content = value.content
    return content if content is not None and content.size <= MOST_CONTENT else None


def computed_content(node: Node, result: Value) -> Content | None:
    """Compute the values of an elementwise operator's result, where those of its inputs are known."""
    contents = [content_of(value) for value in node.given]
    known = [content for content in contents if content is not None]
    if not known or len(known) < len(contents) or _too_many(result):
        return None
    is_symbolic = any(content.dtype == object for content in known)
    function = _function(node, known, is_symbolic=is_symbolic)
    if function is None:
        return None
    try:
        found = function(*known)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return None if _has_none(found) else np.asarray(found)


def _too_many(result: Value) -> bool:
    numbers = [size.number for axis in result.shape or () for size in axis]
    return result.shape is None or any(number is None or number > MOST_CONTENT for number in numbers)


def _has_none(found: object) -> bool:
    array = np.asarray(found)
    return array.dtype == object and any(each is None for each in array.ravel().tolist())


def _function(node: Node, known: list[Content], *, is_symbolic: bool) -> Callable[..., Any] | None:
    operator = node.operator
    kinds = {content.dtype.kind for content in known}
    if operator == "Identity":
        return lambda content: content
    if operator == "Cast":
        to = int(node.attribute("to"))
        if is_symbolic:
            return (lambda content: content) if to in (6, 7, 12, 13) else None
        return (lambda content: content.astype(np.int64)) if to in _INTEGERS and kinds <= set("iub") else None
    if operator in ("Add", "Sub", "Mul"):
        if not kinds <= set("iuO"):
            return None
        return _EXACT[operator]
    if operator == "Neg":
        return _EXACT[operator] if kinds <= set("iO") else None
    if operator == "Div" and kinds <= set("iuO"):
        return np.frompyfunc(_divided, 2, 1)
    if operator == "Mod" and kinds <= set("iu") and not node.attributes.get("fmod"):
        return np.frompyfunc(_remainder, 2, 1)
    if operator in ("Max", "Min") and kinds <= set("iuO") and len(known) == 2:
        return np.frompyfunc(_larger if operator == "Max" else _smaller, 2, 1)
    if operator == "Where" and known[0].dtype.kind == "b" and kinds <= set("iubO"):
        return np.where
    if is_symbolic:
        return np.frompyfunc(_equal, 2, 1) if operator == "Equal" else None
    return _NUMERIC.get(operator)


def _divided(number: int | Size, by: int | Size) -> int | Size | None:
    """Divide integers as ONNX does; sizes of which it is not known how are a computation of their own."""
    first, second = Size.of(number), Size.of(by)
    if first.number is not None and second.number is not None:
        return int(first.number / second.number) if second.number else None
    exact = quotient(first, second) if second.terms else None
    if exact is not None:
        return exact
    lowest = first.lowest is not None and first.lowest >= 0 and second.lowest is not None and second.lowest >= 1
    return computed("floor", first, second, lowest=0) if lowest else None


def _remainder(number: int, by: int) -> int | None:
    """Give the remainder, of the sign of the divisor, as ONNX does of integers; torch.roll cuts an axis there."""
    return number % by if by else None


def _larger(number: int | Size, other: int | Size) -> Size:
    return maximum(Size.of(number), Size.of(other))


def _smaller(number: int | Size, other: int | Size) -> Size:
    return minimum(Size.of(number), Size.of(other))


def _equal(number: int | Size, other: int | Size) -> bool | None:
    """Compare sizes: polynomials that differ by a number that is not 0 are never equal; others may be."""
    first, second = Size.of(number), Size.of(other)
    if first == second:
        return True
    difference = first - second
    bounds = [each.lowest for each in (difference, -difference)]
    return False if any(bound is not None and bound > 0 for bound in bounds) else None
