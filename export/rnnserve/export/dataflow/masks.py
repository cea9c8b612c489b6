"""Which steps lie before their row's length: how graphs make masks of lengths, and what masked values are after it."""

import dataclasses
import math

import onnx

from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.tracks import LAST, Property
from rnnserve.export.dataflow.values import Ends, Inside, Pattern, Steps, Value

__all__ = ["along", "compared", "masked", "moved_pattern"]

_WIDE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}


def along(value: Value, axis: str) -> int | None:
    """Give the one axis of a tensor that lies along a sequence axis, step by step; None where it is not known.

    It is negative for that of a loop, of which the tensor is one step.
    """
    track = value.track((Property.PADDING, axis))
    if track.is_lost or len(track.places) != 1:
        return None
    (((at, _), reach),) = track.places.items()
    whole = value.shape is not None and (at < LAST[0] or (at >= 0 and len(value.shape[at]) == 1))
    return at if whole and reach.offset <= 0 else None


def moved_pattern(node: Node, result: Value) -> Pattern | None:
    """Give the pattern of a result whose values are those of one input, or differ from them by a constant."""
    for number, value in enumerate(node.given):
        pattern = value.pattern
        others = [other for other in node.given if other is not value]
        if pattern is None or value.shape is None or result.shape is None or value.rank != result.rank:
            continue
        if not others and node.operator in ("Cast", "Identity"):
            return pattern if node.operator == "Identity" or _keeps_integers(node, pattern) else None
        if not others and node.operator == "Not" and isinstance(pattern, Inside):
            return dataclasses.replace(pattern, inverted=not pattern.inverted)
        if isinstance(pattern, Ends) and _bounds_below(node, pattern, others):
            return pattern
        added = _added(node, number, others)
        if added is not None and isinstance(pattern, Steps | Ends):
            return dataclasses.replace(pattern, offset=pattern.offset + added)
    return None


def _keeps_integers(node: Node, pattern: Pattern) -> bool:
    """Whether a cast leaves numbers of steps as they are: small integers and half floats do not."""
    return isinstance(pattern, Inside) or node.attribute("to") in _WIDE


def _bounds_below(node: Node, lengths: Ends, others: list[Value]) -> bool:
    """Whether it is `lengths.clamp(min=1)`: no request has a length of less."""
    number = others[0].fill if len(others) == 1 else None
    return node.operator == "Max" and lengths.offset == 0 and number is not None and number <= 1


def _added(node: Node, number: int, others: list[Value]) -> int | None:
    if len(others) != 1 or others[0].fill is None or not others[0].fill.is_integer():
        return None
    if node.operator == "Add":
        return int(others[0].fill)
    return -int(others[0].fill) if node.operator == "Sub" and number == 0 else None


def compared(node: Node, result: Value) -> Value:
    """Recognise a comparison of steps with lengths: whether a step lies before its row's length."""
    left, right = node.input(0), node.input(1)
    steps_first = isinstance(left.pattern, Steps)
    counted, held = (left, right) if steps_first else (right, left)
    steps, ends = counted.pattern, held.pattern
    if not isinstance(steps, Steps) or not isinstance(ends, Ends):
        return result
    # Written with the steps on the left: step + steps.offset OPERATOR length + ends.offset.
    less = node.operator.startswith("Less") == steps_first
    difference = ends.offset - steps.offset + (less == node.operator.endswith("OrEqual"))
    if difference != 0:
        return result
    place = steps.place if steps.place < 0 else steps.place + result.rank - counted.rank
    inside = Inside(ends.axis, place, ends.place + result.rank - held.rank, inverted=not less)
    if inside.steps == inside.rows:
        return result
    return dataclasses.replace(result, pattern=inside)


def masked(node: Node, result: Value) -> Value:
    """Give what a result has after its rows' lengths, where an input is a mask that was made of lengths."""
    found, held, finite = dict(result.after), {}, result.finite
    for at, mask in enumerate(node.given):
        inside = mask.pattern
        if not isinstance(inside, Inside) or mask.shape is None or result.shape is None:
            continue
        if node.operator == "Where" and at == 0 and inside.steps < 0:
            held[inside.axis] = node.input(1 if inside.inverted else 2).name
        if along(result, inside.axis) != (inside.steps if inside.steps < 0 else inside.steps + result.rank - mask.rank):
            continue
        number = _outside(node, at, inside)
        if number is not None:
            found[inside.axis] = number
            # What is not finite stands only after the lengths.
            finite = finite or (node.operator == "Where" and _before(node, inside).wholly_finite)
    return dataclasses.replace(result, after=found, held=held, finite=finite)


def _before(node: Node, inside: Inside) -> Value:
    """Give the input of Where that is chosen before the lengths."""
    return node.input(2 if inside.inverted else 1)


def _outside(node: Node, at: int, inside: Inside) -> float | None:
    """Give the number that a result has where the mask is false, or true if it is inverted."""
    if node.operator == "Where":
        chosen = node.input(1 if inside.inverted else 2)
        return chosen.after.get(inside.axis, chosen.fill) if at == 0 else None
    if inside.inverted:
        return None
    if node.operator == "Mul":
        others = [value for number, value in enumerate(node.given) if number != at]
        return 0.0 if all(value.wholly_finite for value in others) else math.nan  # which no rule takes for zero
    return 0.0  # And
