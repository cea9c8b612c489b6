"""Axes of outputs whose sizes follow from that of an axis of the inputs: strides, edges, windows, repeated steps.

A convolution or a pooling of stride d gives (size + a) // d steps, and several of them in a row do so, too, with the
product of their strides; a transposed one gives m * size + a, or m steps for each that a stride has left. Slices have
a largest size (`y[:, -127:]`), and a smallest one (`max(1, n // 2)`). So the size is times * ((m * size + a) // d) +
plus between two bounds (`DerivedSize`), and these numbers are fitted to the sizes at many sizes of the inputs: to those
that the exported program computes, or, where there is no program, or values decide, to those that runs have.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize

__all__ = ["derive_axis", "described_axis", "fit_size", "is_sure"]

Sizes = npt.NDArray[np.int64]

_DIVISORS: Final = (range(1, 17), range(17, 257), range(257, 4097))  # a bound explains more than a large divisor
_DENSE: Final = 32
_TRIED: Final = (*range(1, _DENSE + 1), 48, 61, 64, 97, 100, 127, 128)
_FEW: Final = 64
_CHANGES: Final = 3
"""How many changes of an output's size are looked for until the two sizes around each are known."""


def described_axis(rule: DerivedSize, **more: Any) -> manifest_pb2.DerivedAxis:  # noqa: ANN401 - fields of the message
    """Describe an axis as a manifest does, named by its rule."""
    return manifest_pb2.DerivedAxis(name=str(rule), **rule._asdict(), **more)


def derive_axis(
    size_at: Callable[[Mapping[str, int]], int], limits: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]
) -> manifest_pb2.DerivedAxis | None:
    """Find the axis of the inputs from which the size of an output's axis follows, and how, by runs.

    Args:
        size_at: Function that runs the module, and gives the size of the output's axis.
        limits: The smallest and the largest size of each sequence axis of the inputs.
        sizes: Sizes of all axes, the batch among them: where one is changed, the others have these.

    Returns:
        None where it follows from more than one axis, or in another way.
    """
    found = None
    for axis, (low, high) in limits.items():
        pairs: dict[int, int] = {}
        wanted = {
            size for size in (*(low + each - 1 for each in _TRIED), (low + high) // 2, high) if low <= size <= high
        }
        while wanted:
            for size in wanted:
                with contextlib.suppress(WrongArguments):  # too short for a kernel: the trial of sizes says so
                    pairs[size] = size_at({**sizes, axis: size})
            wanted = set(_between_changes(pairs)) - pairs.keys() if wanted & pairs.keys() else set()
        if len(set(pairs.values())) < 2:
            continue
        ascending = np.array(sorted(pairs), np.int64)
        rule = fit_size(axis, ascending, np.array([pairs[size] for size in ascending.tolist()], np.int64))
        if rule is None or found is not None:
            return None
        found = described_axis(rule, means=manifest_pb2.MEANS_TRIED, tried_to=max(pairs))
    return found


def is_sure(rule: manifest_pb2.DerivedAxis) -> bool:
    """Whether runs alone tell a rule: they have shown all that a size leaves over, or where strides begin exactly."""
    return rule.multiply == 1 or rule.divide <= _DENSE


def _between_changes(pairs: Mapping[int, int]) -> Iterator[int]:
    """Give sizes nearer to those where the output's axis becomes larger first and last, until these are known."""
    sizes = sorted(pairs)
    changes = [(one, other) for one, other in itertools.pairwise(sizes) if pairs[one] != pairs[other]]
    for one, other in {*changes[:_CHANGES], *changes[-1:]}:
        if other - one > 1:
            yield (one + other) // 2


def fit_size(of: str, sizes: Sizes, found: Sizes) -> DerivedSize | None:
    """Find the rule of the sizes of an output's axis.

    Args:
        of: The axis of the inputs.
        sizes: Sizes of that axis, ascending.
        found: For each of them the size of the output's axis; several.

    Returns:
        The one with the smallest d that is right for all of them; None where there is none.
    """
    bounds = itertools.product((0, int(found.min())), (0, int(found.max())))
    for divisors, (smallest, largest) in itertools.product(_DIVISORS, list(bounds)):
        inner = (found > smallest) & ((found < largest) if largest else True)
        if len(np.unique(found[inner])) < 2:
            continue
        for times, plus in _multiples(found[inner]):
            linear = _fit_linear(sizes[inner], (found[inner] - plus) // times, divisors)
            if linear is None:
                continue
            rule = DerivedSize(of, *linear, times, plus, smallest, largest)
            if np.array_equal(rule.sizes(sizes), found):
                return rule
    return None


def _multiples(found: Sizes) -> Iterator[tuple[int, int]]:
    """Give what sizes may be multiples of, and what is added to these: 1 and 0 first."""
    yield 1, 0
    times = int(np.gcd.reduce(np.diff(found)))
    if times > 1:
        yield times, int(found[0]) % times


def _fit_linear(sizes: Sizes, found: Sizes, divisors: range) -> tuple[int, int, int] | None:
    """Find m, the least a, and d, the smallest, that make (m * size + a) // d right for every size."""
    span = int(sizes[-1] - sizes[0])
    slope, spread = int(found[-1] - found[0]) / span, 1 / span
    few = slice(None, None, max(1, len(sizes) // _FEW))
    # No n sizes in a row need a divisor above n.
    for divide in range(divisors.start, min(divisors.stop, span + 2)):
        for multiply in range(max(1, math.ceil(divide * (slope - spread))), int(divide * (slope + spread)) + 1):
            for part in (few, slice(None)):  # most are wrong for a few sizes already
                remaining = divide * found[part] - multiply * sizes[part]
                least, most = int(remaining.max()), int(remaining.min()) + divide - 1
                if least > most:
                    break
            else:
                return multiply, least, divide
    return None
