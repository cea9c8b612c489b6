"""Which requests share a run: the grouping that costs least, of those that the model allows.

Where rows may be padded, requests of different lengths share a run: rows are padded to the longest, and `lengths` tells
the recurrence where each row ends. Where one padded run would cost more than several shorter ones, requests are grouped
by length. Of several sequence axes only the first is padded.
"""

import itertools
import operator
from collections.abc import Sequence

from rnnserve.server.batching.cost import Cost
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.signature import Batching, Signature

__all__ = ["plan", "plan_lengths", "similar_to_first"]

_STAGES = 8
"""How many lengths `plan` distinguishes; of more, neighbours count as the longer one. Its time grows with the square of
this number."""

_WORTH = 0.2
"""What part of a padded run's time a split must save. Each further run costs what no measurement of runs alone shows:
cold caches, and answers that are sent in smaller groups. Splits that should have saved a tenth made the server slower.
"""

_GOOD_ENOUGH = 0.9
"""What part of the best rate a run may have that has more requests: as with `_WORTH`, fewer runs are worth as much."""


def plan(requests: Sequence[CheckedRequest], signature: Signature, cost: Cost) -> list[list[int]]:
    """Decide which requests share a run.

    Args:
        requests: The requests, in the order of their arrival.
        signature: Signature of the model, which says whether rows may be padded, or joined at all.
        cost: Cost of a run.

    Returns:
        Groups of indices, each to be one run; within a group the order of arrival is kept.
    """
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
    """Decide which requests share a run, where rows may be padded along one axis.

    The cheapest partition is one into neighbours by length, so the best of those is found exactly, by dynamic
    programming over the lengths that occur.

    Args:
        lengths: The longest sequence of each request, in steps.
        rows: The size of each request's batch axis.
        cost: Cost of a run.

    Returns:
        Groups of indices, each to be one run; within a group the order of arrival is kept.
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
    """Decide which of the requests that wait best share a run with the one that has waited longest.

    Of those of the most similar lengths as many as give the most steps a second: fewer, and a run's fixed costs are
    paid for little; more, and they are padded.

    Args:
        lengths: The longest sequence of each request, in steps, in the order of their arrival.
        rows: The size of each request's batch axis.
        cost: Cost of a run.
        most_points: Rows * steps that are not exceeded, unless one request alone does.
        half: Number of requests with which a run is complete, if it is worth making.

    Returns:
        Their indices, ascending: the first is 0.
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
    """Find the partition into neighbours by length that costs least, and how many seconds less than one group."""
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
