"""Operators that give at each index what they compute of the inputs' values at that index."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from rnnserve.export.dataflow.broadcasting import broadcast
from rnnserve.export.dataflow.masks import along, compared, masked, moved_pattern
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.symbolic import computed_content
from rnnserve.export.dataflow.values import NotCovered, Value, fill_of

__all__: list[str] = []

_KEEP_FINITE = (
    "Abs Add And Atan BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Elu Equal "
    "Erf Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Max Mean Min "
    "Mish Mul Neg Not Or PRelu Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sub Sum Swish Tanh "
    "ThresholdedRelu Where Xor"
)
"""Operators whose results are finite where their inputs are, as long as no number leaves its datatype's range."""

_MAY_END = "Acos Acosh Asin Asinh Atanh Cosh Div Exp Log Mod Pow Reciprocal Sinh Sqrt Tan"
"""Operators that give nan or an infinity for some finite inputs."""

_OF_ZERO: Mapping[str, Callable[[float], float]] = {
    "Abs": abs,
    "Cast": float,
    "Neg": lambda number: -number,
    "Relu": lambda number: max(number, 0.0),
    "Tanh": math.tanh,
    "Sign": lambda number: float(np.sign(number)),
    "Not": lambda number: float(not number),
    "Sigmoid": lambda number: 1 / (1 + math.exp(-number)) if number > -500 else 0.0,
    "LeakyRelu": lambda number: math.nan if number else 0.0,
    "Sin": math.sin,
    "Erf": math.erf,
    "Gelu": lambda number: math.nan if number else 0.0,
    "Mish": lambda number: math.nan if number else 0.0,
    "Elu": lambda number: math.nan if number else 0.0,
}
"""What operators make of the one number that all steps after a row's length have; nan where no rule needs it."""


@rule("Identity Dropout")
def _identity(node: Node) -> Value:
    training = node.optional(2)
    if node.operator == "Dropout" and training is not None and training.fill != 0:
        raise NotCovered  # it drops values at random
    return node.input(0)


@rule(f"{_KEEP_FINITE} {_MAY_END}")
def _elementwise(node: Node) -> Value:
    given = node.given
    result = broadcast(node, given if node.operator != "CastLike" else given[:1])
    keeps = node.operator in _KEEP_FINITE.split()
    content = computed_content(node, result)
    result = dataclasses.replace(
        result,
        finite=keeps and all(value.wholly_finite for value in given),
        content=content,
        fill=fill_of(content) if content is not None else _fill(node),
        after=_after(node, result),
        pattern=moved_pattern(node, result),
    )
    if node.operator in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        return compared(node, result)
    return masked(node, result) if node.operator in ("Where", "Mul", "And") else result


def _fill(node: Node) -> float | None:
    """Give the one number that all values are, where those of each input are."""
    numbers = [value.fill for value in node.given if value.fill is not None]
    number = _computed(node, numbers) if len(numbers) == len(node.given) else math.nan
    return None if math.isnan(number) else number


def _after(node: Node, result: Value) -> dict[str, float]:
    """Give what results have after each row's length, where inputs have one number there."""
    given = node.given
    found: dict[str, float] = {}
    for axis in {axis for value in given for axis in value.after}:
        if along(result, axis) is None:
            continue
        numbers = [value.after.get(axis, value.fill) for value in given]
        known = [number for number in numbers if number is not None]
        if len(known) == len(given):
            number = _computed(node, known)
        else:  # zero times whatever is finite
            others = [value for value, number in zip(given, numbers, strict=True) if number != 0]
            zero = node.operator == "Mul" and len(others) < len(given) and all(value.wholly_finite for value in others)
            number = 0.0 if zero else math.nan
        if not math.isnan(number):
            found[axis] = number
    return found


def _computed(node: Node, numbers: list[float]) -> float:
    if len(numbers) == 1 and node.operator in _OF_ZERO:
        return _OF_ZERO[node.operator](numbers[0])
    if node.operator == "Add":
        return sum(numbers)
    if node.operator == "Sub":
        return numbers[0] - numbers[1]
    if node.operator == "Mul" and all(map(math.isfinite, numbers)):
        return math.prod(numbers)
    if node.operator == "Div" and numbers[0] == 0 and numbers[1] not in (0, math.inf, -math.inf):
        return 0.0
    return math.nan
