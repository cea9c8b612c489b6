"""Axes of outputs whose sizes follow from that of an axis of the inputs: strides, edges, and steps that are repeated.

A convolution or a pooling of stride d gives (size + a) // d steps, and several of them in a row do so, too, with the
product of their strides; a transposed one gives m * size + a. So the size is (m * size + a) // d, and m, a and d are
found by running the module at many sizes.
"""

from collections.abc import Callable, Mapping
from typing import Final

from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2

__all__ = ["derive_axis"]

_MOST: Final = 64  # of m and of d
_TRIED = (*range(1, 49), 61, 64, 97, 100, 127, 128)


def derive_axis(
    size_at: Callable[[Mapping[str, int]], int], limits: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]
) -> manifest_pb2.DerivedAxis | None:
    """Find the axis of the inputs from which the size of an output's axis follows, and how.

    Args:
        size_at: Runs the module, and gives the size of the output's axis.
        limits: The smallest and the largest size of each sequence axis of the inputs.
        sizes: Of all axes, the batch among them: where one is changed, the others have these.

    Returns:
        None where it follows from more than one axis, or in another way.
    """
    found = None
    for axis, (low, high) in limits.items():
        tried = sorted({size for size in (*(low + each - 1 for each in _TRIED), high) if low <= size <= high})
        pairs = {}
        for size in tried:
            try:
                pairs[size] = size_at({**sizes, axis: size})
            except WrongArguments:  # too short for a kernel: the trial of sizes says so
                continue
        if len(set(pairs.values())) < 2:
            continue
        fit = _fit(pairs)
        if fit is None or found is not None:
            return None
        multiply, add, divide = fit
        name = f"{axis}/{divide}" if multiply == 1 else f"{multiply}*{axis}" + (f"/{divide}" if divide > 1 else "")
        if divide == multiply:
            name = f"{axis}{add // divide:+d}"
        found = manifest_pb2.DerivedAxis(name=name, of=axis, multiply=multiply, add=add, divide=divide)
    return found


def _fit(pairs: Mapping[int, int]) -> tuple[int, int, int] | None:
    """Find m, a and d, the smallest d first, such that (m * size + a) // d is right for every size; else None."""
    first, last = min(pairs), max(pairs)
    slope, spread = (pairs[last] - pairs[first]) / (last - first), 1 / (last - first)
    for divide in range(1, _MOST + 1):
        for multiply in range(1, _MOST + 1):
            if abs(multiply / divide - slope) > spread:
                continue
            least = max(divide * found - multiply * size for size, found in pairs.items())
            most = min(divide * (found + 1) - 1 - multiply * size for size, found in pairs.items())
            if least <= most:
                return multiply, least, divide
    return None
