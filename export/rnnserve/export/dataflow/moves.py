"""Values that are only moved, copied or left out: what is known of them stays known, at other axes."""

import dataclasses
import math
from collections.abc import Collection, Sequence

from rnnserve.export.dataflow.flow import At, Read, flow
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.tracks import Reach
from rnnserve.export.dataflow.values import Content, Ends, Inside, Pattern, Shape, Steps, Value, fill_of

__all__ = ["moved"]


def moved(
    node: Node,
    shape: Shape,
    value: Value,
    reads: Sequence[Read],
    content: Content | None = None,
    copies: Collection[int] = (),
) -> Value:
    """Give what is known of a result that holds values of one input.

    Args:
        node: The operator.
        shape: Shape of the result.
        value: The input.
        reads: Reading of each of its axes.
        content: The result's values, where they are known.
        copies: Axes of the result along which values are repeated.
    """
    result = flow(node, shape, [(value, reads)], copies)
    unchanged = {at: read.axis for at, read in enumerate(reads) if isinstance(read, At) and read.reach == Reach()}
    after = {axis: number for axis, number in value.after.items() if _same_place(value, result, axis, unchanged)}
    fill = value.fill if content is None else fill_of(content)
    pattern = _moved_pattern(value.pattern, unchanged)
    return dataclasses.replace(
        result,
        content=content,
        pattern=pattern,
        after=after,
        fill=fill,
        finite=value.finite and all(axis in after or math.isfinite(number) for axis, number in value.after.items()),
    )


def _same_place(value: Value, result: Value, axis: str, unchanged: dict[int, int]) -> bool:
    before, now = along(value, axis), along(result, axis)
    return before is not None and now is not None and (before if before < 0 else unchanged.get(before)) == now


def _moved_pattern(pattern: Pattern | None, unchanged: dict[int, int]) -> Pattern | None:
    def place(at: int) -> int | None:
        return at if at < 0 else unchanged.get(at)

    if isinstance(pattern, Steps | Ends):
        now = place(pattern.place)
        return None if now is None else dataclasses.replace(pattern, place=now)
    if isinstance(pattern, Inside):
        steps, rows = place(pattern.steps), place(pattern.rows)
        return None if steps is None or rows is None else dataclasses.replace(pattern, steps=steps, rows=rows)
    return None
