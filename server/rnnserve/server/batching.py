"""Which requests share a run, how they are joined into its arrays, and how its results are split back.

Requests of different lengths share a run: rows are padded with zeros to the longest, and `lengths` tells the recurrence
where each row ends. Where one padded run would cost more than several shorter ones, they are grouped by length.

Every run has an even number of rows, so that the bits of an answer do not depend on who else was asking: onnxruntime's
kernels compute a last odd row along another path than a row of a pair (measured: FINDINGS, "onnxruntime").

No threads and no network here: everything is a function of its arguments.
"""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnserve.server.boundary import Array, Inference
from rnnserve.server.signature import LENGTHS, Signature, TensorSpec

__all__ = ["Cost", "cut", "full_lengths", "join", "part_of", "plan", "rows_of", "split", "zeros"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run costs, in seconds: `run + steps * step + points * point + padding points * padding`, as measured.

    Steps follow one another, and each reads the recurrent weights once however few its rows: with a large hidden size
    a step of two rows costs nearly what one of eight does. And onnxruntime skips part of the work behind a row's end.
    Leaving out either would split batches in vain.

    Attributes:
        run: Of a run, whatever its size.
        step: Of a step, whatever its rows.
        point: Of one row at one step.
        padding: Of one row at one step behind its end; infinite for a model without `lengths`, which cannot tell.
        max_points: A run of several requests has no more rows * steps than this, which bounds its memory.
    """

    run: float
    step: float
    point: float
    padding: float
    max_points: int = 1 << 20

    def of(self, rows: int, steps: int) -> float:
        """Seconds that a run of `rows` rows of `steps` steps takes, without padding."""
        return self.run + steps * (self.step + rows * self.point)

    def points_within(self, seconds: float) -> float:
        """Rows * steps that take no more seconds in one run, whatever their shape: at the worst, all are steps."""
        each = self.step + self.point
        return max(seconds - self.run, 0.0) / each if each else math.inf

    def enough(self, steps: int) -> float:
        """Rows * steps with which a run of `steps` steps is worth its while: more in it would wait for each other.

        Beyond that, what a run costs whatever its rows is a small part of it. Two runs then take hardly longer than one
        of both, and the first half is answered, and may ask again, while the second runs.
        """
        return _ROWS_TO_FIXED * (self.run + steps * self.step) / self.point if self.point else math.inf


_ROWS_TO_FIXED = 6
"""How many times as long the rows of a run have to take as what comes with any run. With hidden 128 and lengths 1 to 64
that is some 17 requests: of batches of at most 8, 12, 16, 20 and any number, those of 16 gave the most inferences a
second, an eighth more than any number did, and p99 was lower by a fifth (32 in flight, perf_analyzer, A B A B)."""


_STAGES = 8
"""How many lengths `plan` tells apart; of more, neighbours count as the longer. Its time grows with the square."""


_WORTH = 0.2
"""What part of a padded run's time more runs must save. Each brings what no measurement of runs alone shows: cold
caches, and answers that leave in smaller bunches. Splits that should have saved a tenth made the server slower."""


def plan(lengths: Sequence[int], rows: Sequence[int], cost: Cost) -> list[list[int]]:
    """Decide which requests share a run.

    The cheapest partition is one into neighbours by length, so the best of those is found exactly, by dynamic
    programming over the lengths that there are.

    Args:
        lengths: The longest sequence of each request, in steps.
        rows: The size of its batch axis.
        cost: Of a run.

    Returns:
        Groups of indices, each to be one run; within a group the order of arrival is kept.
    """
    used, longest = sum(rows), max(lengths)
    points = sum(map(operator.mul, lengths, rows))
    groups = [list(range(len(lengths)))]
    if used * longest > points:
        padding = cost.padding * (used * longest - points)
        must_save = _WORTH * (cost.run + longest * cost.step + points * cost.point + padding)
        if padding > must_save or math.isinf(padding):
            saved, cheapest = _cheapest(lengths, rows, cost)
            if saved > must_save or math.isinf(padding):
                groups = cheapest
    if used * longest > cost.max_points:
        groups = [part for group in groups for part in _within_memory(group, lengths, rows, cost.max_points)]
    return groups


def _cheapest(lengths: Sequence[int], rows: Sequence[int], cost: Cost) -> tuple[float, list[list[int]]]:
    """Find the partition into neighbours by length that costs least, and how many seconds less than one group."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    ascending = sorted(by_length)
    if math.isinf(cost.padding):
        return math.inf, [by_length[length] for length in ascending]
    total = list(itertools.accumulate((sum([rows[index] for index in by_length[at]]) for at in ascending), initial=0))
    count = min(len(ascending), _STAGES)
    ends = [(stage + 1) * len(ascending) // count for stage in range(count)]  # each stage is ascending[…:end]
    best, start = [0.0], [0]
    for end in ends:
        longest, up_to = ascending[end - 1], total[end]
        cheapest, first = math.inf, 0
        for stage, before in enumerate(best):
            from_ = ends[stage - 1] if stage else 0
            # Points themselves cost the same however they are cut: padding up to all of them is what differs.
            price = before + cost.run + longest * (cost.step + cost.padding * (up_to - total[from_]))
            if price < cheapest:
                cheapest, first = price, stage
        best.append(cheapest)
        start.append(first)
    groups: list[list[int]] = []
    stage = count
    while stage:
        first = start[stage]
        slice_ = ascending[ends[first - 1] if first else 0 : ends[stage - 1]]
        groups.append(sorted(itertools.chain.from_iterable(by_length[length] for length in slice_)))
        stage = first
    together = cost.run + ascending[-1] * (cost.step + cost.padding * total[-1])
    return together - best[-1], groups[::-1]


def _within_memory(group: list[int], lengths: Sequence[int], rows: Sequence[int], max_points: int) -> list[list[int]]:
    """Cut a group where rows * longest would pass `max_points`; a request that does so alone is run alone."""
    parts: list[list[int]] = [[]]
    used = longest = 0
    for index in group:
        used, longest = used + rows[index], max(longest, lengths[index])
        if parts[-1] and used * longest > max_points:
            parts.append([])
            used, longest = rows[index], lengths[index]
        parts[-1].append(index)
    return parts


def join(requests: Sequence[Inference], signature: Signature) -> dict[str, Array]:
    """Join requests into the arrays of one run.

    Returns:
        Every input of the signature, by name: sequences padded with zeros to the longest, `lengths` (batch) int64,
        states that were left out as zeros, and a row of zeros of length 1 behind where the number of rows is odd.
        Read-only.
    """
    used = sum(request.batch for request in requests)
    rows = used + (used & 1)
    steps = max(request.longest for request in requests)
    feeds: dict[str, Array] = {}
    for spec in signature.inputs.values():
        shape = spec.shape(rows, steps)
        if len(requests) == 1 and spec.name in requests[0].inputs and requests[0].inputs[spec.name].shape == shape:
            feeds[spec.name] = requests[0].inputs[spec.name]
        elif spec.name == LENGTHS:
            feeds[spec.name] = _join_lengths(requests, used, rows)
        elif any(spec.name in request.inputs for request in requests):
            feeds[spec.name] = _join_given(requests, spec, shape, steps)
        else:
            feeds[spec.name] = zeros(shape, spec.dtype)
    return feeds


def _join_lengths(requests: Sequence[Inference], used: int, rows: int) -> Array:
    if len(requests) == 1 and LENGTHS not in requests[0].inputs and rows <= _KEPT_ROWS:
        return full_lengths(requests[0].sequence, used, rows)
    lengths = np.ones(rows, np.int64)
    at = 0
    for request in requests:
        lengths[at : at + request.batch] = request.inputs.get(LENGTHS, request.sequence)
        at += request.batch
    return lengths


def _join_given(requests: Sequence[Inference], spec: TensorSpec, shape: tuple[int, ...], steps: int) -> Array:
    array = np.zeros(shape, spec.dtype)
    at = 0
    for request in requests:
        given = request.inputs.get(spec.name)
        if given is not None:
            array[rows_of(spec, at, request.batch, min(request.sequence, steps))] = cut(given, spec, steps)
        at += request.batch
    return array


_KEPT_BYTES, _KEPT_ROWS = 1 << 16, 1 << 10


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros that nobody writes to; small ones are made once."""
    if math.prod(shape) * dtype.itemsize > _KEPT_BYTES:
        return np.zeros(shape, dtype)
    return _kept_zeros(shape, dtype)


@functools.lru_cache(maxsize=256)
def _kept_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


@functools.lru_cache(maxsize=1024)
def full_lengths(sequence: int, used: int, rows: int) -> Array:
    """Lengths of `rows` rows, of which `used` are as long as the sequence axis and the others padding: read-only."""
    lengths = np.ones(rows, np.int64)
    lengths[:used] = sequence
    lengths.flags.writeable = False
    return lengths


def split(requests: Sequence[Inference], results: Mapping[str, Array], signature: Signature) -> list[dict[str, Array]]:
    """Split the results of a run back into what each request asked for, in its own shapes and contiguous."""
    answers: list[dict[str, Array]] = []
    at = 0
    for request in requests:
        answer: dict[str, Array] = {}
        for name in request.outputs:
            part = part_of(results[name], signature.outputs[name], at, request.batch, request.sequence)
            answer[name] = np.ascontiguousarray(part)
        answers.append(answer)
        at += request.batch
    return answers


def part_of(whole: Array, spec: TensorSpec, at: int, batch: int, sequence: int) -> Array:
    """Find a request's part of a run's output: its `batch` rows from `at` on, in its own shape."""
    part = whole[rows_of(spec, at, batch, sequence)]
    shape = spec.shape(batch, sequence)
    if part.shape != shape:
        # The request's own padding is longer than the run was: what lies behind every length is zeros.
        part = np.pad(part, [(0, want - have) for want, have in zip(shape, part.shape, strict=True)])
    return part


def rows_of(spec: TensorSpec, at: int, batch: int, steps: int) -> tuple[slice, ...]:
    """Where a request's rows lie in a joined array, cut to its own steps where there is a sequence axis."""
    index = [slice(None)] * len(spec.axes)
    index[spec.batch_axis] = slice(at, at + batch)
    if spec.sequence_axis is not None:
        index[spec.sequence_axis] = slice(0, steps)
    return tuple(index)


def cut(array: Array, spec: TensorSpec, steps: int) -> Array:
    """Leave out the steps behind the longest length: padding that the request brought along."""
    if spec.sequence_axis is None or array.shape[spec.sequence_axis] <= steps:
        return array
    index = [slice(None)] * array.ndim
    index[spec.sequence_axis] = slice(0, steps)
    return array[tuple(index)]
