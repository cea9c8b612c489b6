"""Axes of outputs whose sizes follow from that of an axis of the inputs: strides, edges, and steps that are repeated.

A convolution or a pooling of stride d gives (size + a) // d steps, and several of them in a row do so, too, with the
product of their strides; a transposed one gives m * size + a. So the size is (m * size + a) // d, and m, a and d are
found by running the module at many sizes. Frames of audio have strides of hundreds of samples: the sizes at which
another frame begins are found by bisection.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import numpy as np

from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2

__all__ = ["derive_axis"]

_LARGEST: Final = 4096  # of d
_TRIED: Final = (*range(1, 33), 48, 61, 64, 97, 100, 127, 128)
_FURTHER, _ROUNDS = 8, 24  # sizes a round; a round halves what a may be


def derive_axis(
    size_at: Callable[[Mapping[str, int]], int], limits: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]
) -> manifest_pb2.DerivedAxis | None:
    """Find the axis of the inputs from which the size of an output's axis follows, and how.

    Args:
        size_at: Function that runs the module, and gives the size of the output's axis.
        limits: The smallest and the largest size of each sequence axis of the inputs.
        sizes: Sizes of all axes, the batch among them: where one is changed, the others have these.

    Returns:
        None where it follows from more than one axis, or in another way.
    """
    found = None
    for axis, (low, high) in limits.items():
        measured = _Measured(partial(_at, size_at, sizes, axis))
        measured.measure(size for size in (*(low + each - 1 for each in _TRIED), high) if low <= size <= high)
        if len(set(measured.pairs.values())) < 2:
            continue
        fit = _fit_everywhere(measured)
        if fit is None or found is not None:
            return None
        multiply, add, divide = fit
        name = f"{axis}/{divide}" if multiply == 1 else f"{multiply}*{axis}" + (f"/{divide}" if divide > 1 else "")
        if divide == multiply:
            name = f"{axis}{add // divide:+d}"
        found = manifest_pb2.DerivedAxis(name=name, of=axis, multiply=multiply, add=add, divide=divide)
    return found


def _at(size_at: Callable[[Mapping[str, int]], int], sizes: Mapping[str, int], axis: str, size: int) -> int:
    return size_at({**sizes, axis: size})


class _Measured:
    """Sizes of an output's axis by those of an axis of the inputs.

    Args:
        size_at: Function that runs the module.

    Attributes:
        pairs: What was found, by the size of the inputs' axis.
    """

    def __init__(self, size_at: Callable[[int], int]) -> None:
        self._size_at = size_at
        self.pairs: dict[int, int] = {}

    def measure(self, sizes: Iterable[int]) -> None:
        """Run the module at sizes, where that was not done."""
        for size in sizes:
            if size not in self.pairs:
                with contextlib.suppress(WrongArguments):  # too short for a kernel: the trial of sizes says so
                    self.pairs[size] = self._size_at(size)

    def first_above(self, found: int) -> int | None:
        """Give the smallest size of the inputs' axis for which the output's is larger than `found`; None for none."""
        below, above = min(self.pairs), max(self.pairs)
        if self.pairs[above] <= found:
            return None
        for size, other in self.pairs.items():
            below = max(below, size) if other <= found else below
            above = min(above, size) if other > found else above
        while above - below > 1:
            middle = (below + above) // 2
            self.measure([middle])
            if middle not in self.pairs:
                return None
            below, above = (middle, above) if self.pairs[middle] <= found else (below, middle)
        return above


def _fit_everywhere(measured: _Measured) -> tuple[int, int, int] | None:
    """Find m, a and d that are right for all sizes measured, for those where the output changes, and for further."""
    first, last = min(measured.pairs), max(measured.pairs)
    second = measured.first_above(measured.pairs[first])
    if second is not None:
        measured.first_above(measured.pairs[second])
    measured.first_above(measured.pairs[last] - 1)
    random = np.random.default_rng(0)
    for _ in range(_ROUNDS):
        fit = _fit(measured.pairs)
        if fit is None:
            return None
        multiply, least, most, divide = fit
        tells = first + (_telling(fit) - first) % divide
        further = [int(size) for size in random.integers(first, last + 1, _FURTHER)]
        measured.measure([*further, min(tells, last)])
        right = all((multiply * size + least) // divide == found for size, found in measured.pairs.items())
        if right and (least == most or tells > last or math.gcd(multiply, divide) > 1):
            return multiply, least, divide
    return None


def _telling(fit: tuple[int, int, int, int]) -> int:
    """Give a size, but for a multiple of d, for which the smaller half of what a may be gives less than the other."""
    multiply, least, most, divide = fit
    half = (least + most + 1) // 2
    return -pow(multiply, -1, divide) * half if math.gcd(multiply, divide) == 1 else 0


def _fit(pairs: Mapping[int, int]) -> tuple[int, int, int, int] | None:
    """Find m, the least and the most a, and d, the smallest, that make (m * size + a) // d right for every size."""
    first, last = min(pairs), max(pairs)
    slope, spread = (pairs[last] - pairs[first]) / (last - first), 1 / (last - first)
    # No n sizes in a row need a divisor above n.
    for divide in range(1, min(_LARGEST, last - first + 1) + 1):
        for multiply in range(max(1, math.ceil(divide * (slope - spread))), int(divide * (slope + spread)) + 1):
            least = max(divide * found - multiply * size for size, found in pairs.items())
            most = min(divide * (found + 1) - 1 - multiply * size for size, found in pairs.items())
            if least <= most:
                return multiply, least, most, divide
    return None
