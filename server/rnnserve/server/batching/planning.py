"""Cost model of inference calls, and the cheapest grouping of requests into batches that the model allows.

If rows may be padded, requests of different lengths share a batch: rows are padded to the longest, and `lengths` marks
the end of each row for the recurrence. If one padded batch costs more than several shorter ones, requests are grouped
by length. If there are several sequence axes, only the first is padded.
"""

import dataclasses
import itertools
import math
import operator
from collections.abc import Sequence

from rnnserve.server.validation.checked_request import CheckedRequest
from rnnserve.server.validation.signature import Batching, Signature

__all__ = ["Cost", "plan", "plan_lengths", "similar_to_first"]

_ROWS_TO_FIXED = 6
"""A batch is large enough if its rows take this many times as long as its fixed part. With hidden size 128 and lengths
1 to 64, this takes about 17 requests."""

_STAGES = 8
"""Maximum number of distinct lengths in `plan`. If there are more, neighboring lengths count as the longer one. The
time of `plan` grows with the square of this number."""

_WORTH = 0.2
"""Minimum part of a padded batch's time that a split must save. Each further inference call has costs that timing
inference alone doesn't show: cold caches, and responses sent in smaller groups. Splits with an expected saving of 10 %
made the server slower."""

_GOOD_ENOUGH = 0.9
"""A batch with more requests may have this part of the best rate, because fewer calls save time elsewhere (`_WORTH`).
"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds per inference call, measured at load: `run + steps * step + points * point + padding points * padding`.

    Points are rows * steps. Steps run one after another, and each step reads the recurrent weights once for all rows.
    With a large hidden size, a step with two rows therefore costs nearly as much as a step with eight. The `padding`
    term exists because onnxruntime skips part of the work after the end of a row. Without these two terms, the planner
    would split batches for no gain.
    """

    run: float  # fixed cost of a call
    step: float  # fixed cost of a step
    point: float
    padding: float  # cost of a point after the end of its row
    max_points: int = 1 << 16  # limit per call, to bound its memory (larger requests are split)

    def of(self, rows: float, steps: int) -> float:
        """Return the seconds of an inference call with `rows` rows of `steps` steps, without padding."""
        return self.run + steps * (self.step + rows * self.point)

    def points_within(self, seconds: float) -> float:
        """Return the points that fit into `seconds` in any shape. One long row is the most expensive shape."""
        each = self.step + self.point
        return max(seconds - self.run, 0.0) / each if each else math.inf

    def points_taking(self, seconds: float) -> float:
        """Return the points that take `seconds` in batches of many rows, without the fixed costs."""
        return seconds / self.point if self.point else math.inf

    def seconds_of_queue(self, points: int) -> float:
        """Return the seconds that requests with `points` points take in total, in large enough batches."""
        return points * self.point * (1 + 1 / _ROWS_TO_FIXED)

    def enough(self, steps: int) -> float:
        """Return how many points make a batch of `steps` steps large enough.

        In larger batches, the fixed cost is a small part of the total. Two calls then take hardly longer than one call
        for both halves. The first half is answered earlier, and its clients can send again while the second half runs.
        """
        return _ROWS_TO_FIXED * (self.run + steps * self.step) / self.point if self.point else math.inf


def plan(requests: Sequence[CheckedRequest], signature: Signature, cost: Cost) -> list[list[int]]:
    """Return groups of request indices, one group per inference call. Each group keeps the order of arrival."""
    if signature.batching is Batching.ALONE:
        return [[index] for index in range(len(requests))]
    equal = signature.equal_axes
    if not equal:
        return plan_lengths([request.steps for request in requests], [request.batch for request in requests], cost)
    by_sizes: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        by_sizes.setdefault(tuple([request.longest[axis] for axis in equal]), []).append(index)
    planned: list[list[int]] = []
    for group in by_sizes.values():
        steps, rows = [requests[index].steps for index in group], [requests[index].batch for index in group]
        planned += [[group[at] for at in part] for part in plan_lengths(steps, rows, cost)]
    return planned


def plan_lengths(lengths: Sequence[int], rows: Sequence[int], cost: Cost) -> list[list[int]]:
    """Return groups as `plan` does, for rows that may be padded along one axis.

    The cheapest partition consists of neighbors by length. Dynamic programming over the lengths finds it.
    """
    longest = max(lengths)
    points, padded = sum(map(operator.mul, lengths, rows)), sum(rows) * longest
    groups = [list(range(len(lengths)))]
    padding = cost.padding * (padded - points)
    must_save = _WORTH * (cost.run + longest * cost.step + points * cost.point + padding)
    if padding > must_save:  # a split saves at most the padding
        saved, cheapest = _cheapest(lengths, rows, cost)
        if saved > must_save:
            groups = cheapest
    if padded > cost.max_points:
        groups = [part for group in groups for part in _within_memory(group, lengths, rows, cost.max_points)]
    return groups


def similar_to_first(
    lengths: Sequence[int], rows: Sequence[int], cost: Cost, most_points: float, half: int
) -> list[int]:
    """Return the ascending indices of the pending requests that best share a batch with the first one.

    Takes as many requests of similar lengths as give the most steps per second: with fewer requests, fixed costs weigh
    more, and with more requests, padding does. The batch has at most `most_points` points unless the first request
    alone exceeds them. It also ends after `half` of the pending requests if it is large enough by then.
    """
    own = lengths[0]
    distance = [2 * (own - steps) if steps <= own else 2 * (steps - own) + 1 for steps in lengths]  # shorter ones first
    nearest = sorted(range(len(lengths)), key=distance.__getitem__)
    more = cost.point - cost.padding
    together = longest = points = count = 0
    best = 0.0
    for number, index in enumerate(nearest, 1):
        points += rows[index] * lengths[index]
        if number > 1 and points > most_points:
            break
        together += rows[index]
        longest = max(longest, lengths[index])
        rate = points and points / (cost.run + longest * (cost.step + together * cost.padding) + points * more)
        if rate >= _GOOD_ENOUGH * best:
            best, count = max(rate, best), number
        if number >= half and points >= cost.enough(longest):
            break
    return sorted(nearest[:count])


def _cheapest(lengths: Sequence[int], rows: Sequence[int], cost: Cost) -> tuple[float, list[list[int]]]:
    """Return the cheapest partition into neighbors by length, and the seconds it saves over one group."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    ascending = sorted(by_length)
    total = list(itertools.accumulate((sum([rows[index] for index in by_length[at]]) for at in ascending), initial=0))
    count = min(len(ascending), _STAGES)
    starts = [stage * len(ascending) // count for stage in range(count + 1)]  # of the stages, plus the last end
    best = [0.0]  # by stage: cost of the cheapest partition of all previous stages
    before: list[int] = []  # by stage: start of the last group in the cheapest partition up to this stage
    for end in starts[1:]:
        longest, up_to = ascending[end - 1], total[end]
        # All partitions have the same cost for the points themselves. They differ only in padding.
        prices = [
            price + cost.run + longest * (cost.step + cost.padding * (up_to - total[start]))
            for price, start in zip(best, starts, strict=False)
        ]
        best.append(min(prices))
        before.append(prices.index(best[-1]))
    groups: list[list[int]] = []
    stage = count
    while stage:
        first = before[stage - 1]
        slice_ = ascending[starts[first] : starts[stage]]
        groups.append(sorted(itertools.chain.from_iterable(by_length[length] for length in slice_)))
        stage = first
    together = cost.run + ascending[-1] * (cost.step + cost.padding * total[-1])
    return together - best[-1], groups[::-1]


def _within_memory(group: list[int], lengths: Sequence[int], rows: Sequence[int], max_points: int) -> list[list[int]]:
    """Cut a group so that rows * longest stays within `max_points`. A request above that limit gets its own group."""
    parts: list[list[int]] = [[]]
    used = longest = 0
    for index in group:
        used, longest = used + rows[index], max(longest, lengths[index])
        if parts[-1] and used * longest > max_points:
            parts.append([])
            used, longest = rows[index], lengths[index]
        parts[-1].append(index)
    return parts
