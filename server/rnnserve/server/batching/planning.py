"""What a run costs, and which requests share one: the cheapest grouping that the model allows.

If rows may be padded, requests of different lengths share a run: rows are padded to the longest, and `lengths` tells
the recurrence where each row ends. If one padded run costs more than several shorter ones, requests are grouped by
length. Of several sequence axes only the first is padded.
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
"""How many times as long the rows of a run take as its fixed part, if the run is worth making: with hidden 128 and
lengths 1 to 64 that is some 17 requests (docs/lab/findings.md, "Batch size and grouping")."""

_STAGES = 8
"""How many lengths `plan` distinguishes; of more, neighbors count as the longer one. Its time grows with the square of
this number."""

_WORTH = 0.2
"""What part of a padded run's time a split must save. Each further run costs what no measurement of runs alone shows:
cold caches, and answers that are sent in smaller groups. Splits that should have saved a tenth made the server slower.
"""

_GOOD_ENOUGH = 0.9
"""What part of the best rate a run may have that has more requests: as with `_WORTH`, fewer runs are worth as much."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a run, as measured at load: `run + steps * step + points * point + padding points * padding`.

    Points are rows * steps. Steps follow one another, and each reads the recurrent weights once however few its rows:
    with a large hidden size a step of two rows costs nearly what one of eight does. And onnxruntime skips part of the
    work after a row's end. Without either term, batches would be split in vain.
    """

    run: float  # whatever its size
    step: float  # whatever its rows
    point: float
    padding: float  # a point after its row's end
    max_points: int = 1 << 16  # of a run, which bounds its memory: larger requests are run in parts

    def of(self, rows: float, steps: int) -> float:
        """Seconds that a run of `rows` rows of `steps` steps takes, without padding."""
        return self.run + steps * (self.step + rows * self.point)

    def points_within(self, seconds: float) -> float:
        """Points that take no more than `seconds` in one run of any shape: the most expensive shape has one row."""
        each = self.step + self.point
        return max(seconds - self.run, 0.0) / each if each else math.inf

    def points_taking(self, seconds: float) -> float:
        """Points that take `seconds` in runs of many rows, without the fixed parts of runs and steps."""
        return seconds / self.point if self.point else math.inf

    def seconds_of_queue(self, points: int) -> float:
        """Seconds that requests of so many points take together, in batches worth making."""
        return points * self.point * (1 + 1 / _ROWS_TO_FIXED)

    def enough(self, steps: int) -> float:
        """Points with which a run of `steps` steps is worth making: more in it would only wait for each other.

        Beyond that, the fixed part of a run is a small part of it. Two runs then take hardly longer than one of both,
        and the first half is answered, and may send again, while the second runs.
        """
        return _ROWS_TO_FIXED * (self.run + steps * self.step) / self.point if self.point else math.inf


def plan(requests: Sequence[CheckedRequest], signature: Signature, cost: Cost) -> list[list[int]]:
    """Return groups of indices, each to be one run; within a group the order of arrival is kept."""
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

    The cheapest partition is one into neighbors by length: it is found by dynamic programming over the lengths.
    """
    longest = max(lengths)
    points, padded = sum(map(operator.mul, lengths, rows)), sum(rows) * longest
    groups = [list(range(len(lengths)))]
    padding = cost.padding * (padded - points)
    must_save = _WORTH * (cost.run + longest * cost.step + points * cost.point + padding)
    if padding > must_save:  # no split saves more than the padding
        saved, cheapest = _cheapest(lengths, rows, cost)
        if saved > must_save:
            groups = cheapest
    if padded > cost.max_points:
        groups = [part for group in groups for part in _within_memory(group, lengths, rows, cost.max_points)]
    return groups


def similar_to_first(
    lengths: Sequence[int], rows: Sequence[int], cost: Cost, most_points: float, half: int
) -> list[int]:
    """Choose which pending requests best share a run with the first of them; return their indices, ascending.

    Of those of the most similar lengths as many as give the most steps a second: fewer, and a run's fixed costs are
    paid for little; more, and they are padded. They have no more than `most_points`, unless the first alone does, and
    are no more than `half` of all if that makes a run worth making.
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
    """Find the partition into neighbors by length that costs least, and how many seconds less than one group."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    ascending = sorted(by_length)
    total = list(itertools.accumulate((sum([rows[index] for index in by_length[at]]) for at in ascending), initial=0))
    count = min(len(ascending), _STAGES)
    starts = [stage * len(ascending) // count for stage in range(count + 1)]  # of stages, and the end of the last
    best = [0.0]  # by stage: the price of the cheapest partition of all that comes before it
    before: list[int] = []  # by stage: where the last part of such a partition, this stage included, starts
    for end in starts[1:]:
        longest, up_to = ascending[end - 1], total[end]
        # The points themselves cost the same in any partition: only their padding differs.
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
    """Cut a group whose rows * longest would exceed `max_points`; a request that does so alone is run alone."""
    parts: list[list[int]] = [[]]
    used = longest = 0
    for index in group:
        used, longest = used + rows[index], max(longest, lengths[index])
        if parts[-1] and used * longest > max_points:
            parts.append([])
            used, longest = rows[index], lengths[index]
        parts[-1].append(index)
    return parts
