"""Axes of outputs whose sizes follow from that of an axis of the inputs: strides, edges, windows, repeated steps.

A convolution or a pooling of stride d gives (size + a) // d steps, and several of them in a row do so, too, with the
product of their strides; a transposed one gives m * size + a, or m steps for each that a stride has left. Slices have
a largest size (`y[:, -127:]`), and a smallest one (`max(1, n // 2)`). So the size is times * ((m * size + a) // d) +
plus between two bounds (`DerivedSize`), and these numbers are fitted to the sizes at many sizes of the inputs: to those
that the exported program computes, or, where there is no program, to those that runs have.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize

__all__ = ["derive_axis", "described_axis", "fit_size"]

Sizes = npt.NDArray[np.int64]

_DIVISORS: Final = (range(1, 17), range(17, 257), range(257, 4097))  # a bound explains more than a large divisor
_TRIED: Final = (*range(1, 33), 48, 61, 64, 97, 100, 127, 128)
_FEW: Final = 64
_FURTHER, _ROUNDS = 6, 32  # sizes a round; a round halves what a may be


class _Fit(NamedTuple):
    """A rule that is right at all sizes that were tried.

    Attributes:
        rule: The rule, with the least a.
        most: The most that a may be.
        last: The largest size of the inputs that tells something of it: beyond are those of the largest size.
    """

    rule: DerivedSize
    most: int
    last: int


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

        def measure(wanted: Iterable[int], axis: str = axis, pairs: dict[int, int] = pairs) -> None:
            for size in wanted:
                if size not in pairs:
                    with contextlib.suppress(WrongArguments):  # too short for a kernel: the trial of sizes says so
                        pairs[size] = size_at({**sizes, axis: size})

        measure(size for size in (*(low + each - 1 for each in _TRIED), (low + high) // 2, high) if low <= size <= high)
        if len(set(pairs.values())) < 2:
            continue
        rule = _fit_runs(axis, pairs, measure)
        if rule is None or found is not None:
            return None
        found = described_axis(rule, means=manifest_pb2.MEANS_TRIED, tried_to=max(pairs))
    return found


def fit_size(of: str, sizes: Sizes, found: Sizes) -> DerivedSize | None:
    """Find the rule of the sizes of an output's axis.

    Args:
        of: The axis of the inputs.
        sizes: Sizes of that axis, ascending.
        found: For each of them the size of the output's axis; several.

    Returns:
        The one with the smallest d that is right for all of them; None where there is none.
    """
    fit = _fit(of, sizes, found)
    return None if fit is None else fit.rule


def _fit_runs(of: str, pairs: Mapping[int, int], measure: Callable[[Iterable[int]], None]) -> DerivedSize | None:
    """Find the rule of what runs have given; more are made, where they tell most, until it is right for all of them."""
    random = np.random.default_rng(0)
    for _ in range(_ROUNDS):
        sizes = np.array(sorted(pairs), np.int64)
        found = np.array([pairs[size] for size in sizes.tolist()], np.int64)
        fit = _fit(of, sizes, found)
        telling = () if fit is None else _telling(fit, int(sizes[0]))
        wanted = {*_between_steps(sizes, found), *telling} - pairs.keys()
        if fit is None and not wanted:
            return None
        measure([*wanted, *random.integers(sizes[0], sizes[-1] + 1, _FURTHER).tolist()])
        if fit and wanted.isdisjoint(pairs) and all(fit.rule.size(size) == found for size, found in pairs.items()):
            return fit.rule
    return None


def _between_steps(sizes: Sizes, found: Sizes) -> Iterator[int]:
    """Give sizes nearer to those where the output's axis becomes larger first and last, until these are known."""
    changes = np.flatnonzero(np.diff(found))
    for at in {*changes[:2].tolist(), int(changes[-1])}:
        if sizes[at + 1] - sizes[at] > 1:
            yield int(sizes[at] + sizes[at + 1]) // 2


def _telling(fit: _Fit, first: int) -> Iterator[int]:
    """Give a size for which the smaller half of what a may be gives less than the other, if one can be tried."""
    _, multiply, least, divide, *_ = fit.rule
    if least < fit.most and math.gcd(multiply, divide) == 1:
        half = (least + fit.most + 1) // 2
        tells = first + (-pow(multiply, -1, divide) * half - first) % divide
        if tells <= fit.last:
            yield tells


def _fit(of: str, sizes: Sizes, found: Sizes) -> _Fit | None:
    bounds = itertools.product((0, int(found.min())), (0, int(found.max())))
    for divisors, (smallest, largest) in itertools.product(_DIVISORS, list(bounds)):
        inner = (found > smallest) & ((found < largest) if largest else True)
        if len(np.unique(found[inner])) < 2:
            continue
        for times, plus in _multiples(found[inner]):
            linear = _fit_linear(sizes[inner], (found[inner] - plus) // times, divisors)
            if linear is None:
                continue
            multiply, add, other, divide = linear
            rule = DerivedSize(of, multiply, add, divide, times, plus, smallest, largest)
            if np.array_equal(rule.sizes(sizes), found):
                return _Fit(rule, other, int(sizes[inner][-1]))
    return None


def _multiples(found: Sizes) -> Iterator[tuple[int, int]]:
    """Give what sizes may be multiples of, and what is added to these: 1 and 0 first."""
    yield 1, 0
    times = int(np.gcd.reduce(np.diff(found)))
    if times > 1:
        yield times, int(found[0]) % times


def _fit_linear(sizes: Sizes, found: Sizes, divisors: range) -> tuple[int, int, int, int] | None:
    """Find m, the least and the most a, and d, the smallest, that make (m * size + a) // d right for every size."""
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
                return multiply, least, most, divide
    return None
