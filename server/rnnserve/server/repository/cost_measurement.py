"""What a run of a model costs on this machine, measured when the model is loaded."""

import time
from collections.abc import Mapping

from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.execution import BatchModel
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.repository.trial_requests import TrialRequests

__all__ = ["measure_cost"]

_RUNS = 9


def measure_cost(model: BatchModel, trials: TrialRequests) -> Cost:
    """Time a small run, a large one, a long one, and one that is nearly all padding, and solve for the costs."""
    signature = model.signature
    least, most = trials.sizes(1), trials.sizes(64)
    short, long = signature.steps_of(least), signature.steps_of(most)
    more = long - short

    def seconds(rows: int, sizes: Mapping[str, int], *, lengths: int | str = "") -> float:
        return _seconds(model, trials.draw(rows, sizes, lengths=lengths, outputs=tuple(signature.outputs)[:1]), sizes)

    few, many = trials.rows(2), trials.rows(64)
    small, large = seconds(few, least), seconds(many, most)
    slim = seconds(few, most) if more else small
    point = max(large - slim, 0.0) / ((many - few) * long) if many > few else 0.0
    step = max(slim - small - few * more * point, 0.0) / more if more else 0.0
    padding = 0.0
    if signature.is_padded and more:
        padding = max(point - (large - seconds(many, most, lengths=1)) / (many * more), 0.0)
    return Cost(run=max(small - short * step - few * short * point, 0.0), step=step, point=point, padding=padding)


def _seconds(model: BatchModel, request: CheckedRequest, sizes: Mapping[str, int]) -> float:
    """The shortest of several runs with all steps, in seconds: whatever else the machine does can only add to it."""
    request.longest = sizes
    times = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        model.run([request])
        times.append(time.perf_counter() - started)
    return min(times)
