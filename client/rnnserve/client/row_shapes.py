"""The shape of a row: what a model takes, whether it fits, and the likely mistake where it does not."""

from collections.abc import Sequence

from rnnserve.client.metadata import TensorMetadata

__all__ = ["column_axis", "describe_axis", "describe_row", "likely_mistake", "matches"]

_Shape = Sequence[int]


def matches(shape: _Shape, expected: _Shape) -> bool:
    """Return whether a shape is as expected; an expected -1 matches any size."""
    return len(shape) == len(expected) and all(
        required in (-1, size) for size, required in zip(shape, expected, strict=True)
    )


def describe_row(tensor: TensorMetadata) -> str:
    """Return a row's axes with their sizes: "(sequence, features=2)"."""
    if not tensor.row_axes:
        return "a number"
    return f"({', '.join(describe_axis(axis, size) for axis, size in tensor.row_axes)})"


def describe_axis(axis: str, size: int) -> str:
    """Return an axis with its size, where it has a fixed one: "features=2"."""
    return axis if size < 0 else f"{axis}={size}"


def column_axis(tensor: TensorMetadata) -> tuple[int, str, int] | None:
    """Return the position, name and size of the axis of a row that the columns of a table are.

    Of (sequence, features=2) and of (features=2, sequence) it is `features`. None where the columns of a table may be
    any number: a row has one number a step, or all its axes have any size, or it is no table.
    """
    axes = tensor.row_axes
    fixed = [(at, axis, size) for at, (axis, size) in enumerate(axes) if size >= 0]
    return fixed[-1] if fixed and len(axes) <= 2 else None


def likely_mistake(tensor: TensorMetadata, shapes: Sequence[_Shape]) -> str:
    """Return a sentence about the likely mistake, which begins with ". "; empty if none is likely.

    Reversed axes are named only where every row would fit the other way, limits included. Even so it may be chance, as
    for two points of three numbers each where two are taken, so what else may be wrong is said beside it.

    Args:
        tensor: The input.
        shapes: The shape of each row that was passed, the wrong one first.
    """
    expected = [size for _, size in tensor.row_axes]
    shape = tuple(shapes[0])
    if len(shape) == len(expected) + 1:
        return ". It has a batch axis of its own: pass the arrays in it as separate rows"
    if not shape:
        return ". It is a single number: pass a list of rows"
    if len(shape) == len(expected) - 1 and expected[-1] == 1:
        return ". If each step has one number, use reshape(-1, 1)"
    if len(shape) != len(expected):
        return ""
    axis, size = tensor.row_axes[-1]
    counted = f"the model takes {size} {axis}, not {shape[-1]}" if size not in (-1, shape[-1]) else ""
    if len(shape) > 1 and all(_fits(tensor, tuple(each)[::-1]) for each in shapes):
        order = ", ".join(name for name, _ in reversed(tensor.row_axes))
        return f". If its axes are in reverse order, ({order}), transpose it{f'; else {counted}' if counted else ''}"
    return f". Note that {counted}" if counted else ""


def _fits(tensor: TensorMetadata, shape: _Shape) -> bool:
    limits = [tensor.limits.get(axis, (1, size)) for (axis, _), size in zip(tensor.row_axes, shape, strict=False)]
    return matches(shape, [size for _, size in tensor.row_axes]) and all(
        low <= size <= high for size, (low, high) in zip(shape, limits, strict=True)
    )
