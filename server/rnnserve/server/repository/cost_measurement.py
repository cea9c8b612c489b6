"""What a run of a model costs on this machine, measured when the model is loaded."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping

from rnnserve.server.batching.execution import BatchModel
from rnnserve.server.batching.planning import Cost
from rnnserve.server.errors import is_of_memory
from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.checked_request import CheckedRequest
from rnnserve.server.validation.signature import Signature

__all__ = ["ROUNDS", "clock_of_runs", "large_sizes", "measure_cost"]

ROUNDS = 9
"""How often each run is made."""

_ROWS = _STEPS = 64
_MOST_STEPS = 4 * _STEPS
"""Steps of a row of a large run, which may have several axes: 64 sentences of 64 words are 4,096, and a run of 14 such
documents took more memory than a version may."""

_MOST_VALUES = 1 << 20
"""Values of a run of many rows, of a model without sequences: 64 rows of 9 seconds of sound took 600 MB."""


def clock_of_runs(device: str, threads: int) -> Callable[[], float]:
    """Choose the clock by which runs are timed, in seconds.

    A run on the calling thread alone is timed by that thread's processor time: by the wall clock, what else the machine
    does while a model is loaded would decide how its requests are batched as long as it serves. A GRU of 128, loaded
    beside other work, was taken for a model that needs a thread of its own.
    """
    return time.thread_time if device == "cpu" and threads == 1 else time.perf_counter


def measure_cost(model: BatchModel, trials: TrialRequests, clock: Callable[[], float], rounds: int = ROUNDS) -> Cost:
    """Time a small run, a large one, a long one, and one that is nearly all padding, and solve for the costs.

    They are run in turns, and of each the shortest run counts: whatever else the machine does can only add to it. So a
    moment in which the machine is slow is one for all of them, and their times fit together (docs/lab/findings.md,
    "Batch size and grouping").

    If a large run takes more memory than this process may have, as attention with a hidden layer for each pair of
    steps does, one of half as many rows takes its place, and the model's runs have no more points than that.
    """
    signature = model.signature
    least, most = trials.sizes(1), large_sizes(signature, trials)
    short, long = signature.steps_of(least), signature.steps_of(most)
    more = long - short
    few, many = trials.rows(2), trials.rows(_many_rows(signature, most))
    is_bounded = False

    def request(rows: int, sizes: Mapping[str, int], *, lengths: str = "") -> CheckedRequest:
        drawn = trials.draw(rows, sizes, lengths=lengths, outputs=tuple(signature.outputs)[:1])
        drawn.longest = sizes  # all steps are run
        return drawn

    while True:
        requests = {"small": request(few, least), "large": request(many, most)}
        if more:
            requests["slim"] = request(few, most)
            if signature.is_padded and many > 1:
                requests["padded"] = request(many, most, lengths="one long")  # kernels make no step that no row has
        try:
            seconds = _shortest_seconds(model, requests, clock, rounds)
            break
        except Exception as error:
            if not is_of_memory(error) or many // 2 <= few:
                raise
            many, is_bounded = many // 2, True
    small, large = seconds["small"], seconds["large"]
    slim = seconds.get("slim", small)
    point = max(large - slim, 0.0) / ((many - few) * long) if many > few else 0.0
    step = max(slim - small - few * more * point, 0.0) / more if more else 0.0
    padding = max(point - (large - seconds["padded"]) / ((many - 1) * more), 0.0) if "padded" in seconds else 0.0
    cost = Cost(run=max(small - short * step - few * short * point, 0.0), step=step, point=point, padding=padding)
    return dataclasses.replace(cost, max_points=many * long) if is_bounded else cost


def large_sizes(signature: Signature, trials: TrialRequests) -> dict[str, int]:
    """Choose the sizes of a large run: fewer along axes within one input, whose steps multiply."""
    steps = _STEPS
    while steps > 1 and signature.steps_of(trials.sizes(steps)) > _MOST_STEPS:
        steps //= 2
    return trials.sizes(steps)


def _many_rows(signature: Signature, sizes: Mapping[str, int]) -> int:
    """Choose how many rows a large run has: fewer if the model has no sequence axes, and a row is large by itself."""
    if sizes:
        return _ROWS
    values = sum(math.prod(spec.shape(1, sizes)) for spec in signature.inputs.values())
    return min(_ROWS, max(4, _MOST_VALUES // max(values, 1)))


def _shortest_seconds(
    model: BatchModel, requests: Mapping[str, CheckedRequest], clock: Callable[[], float], rounds: int
) -> dict[str, float]:
    """Run each request once a round; give the shortest time of each, in seconds."""
    shortest = dict.fromkeys(requests, math.inf)
    for _ in range(rounds):
        for name, request in requests.items():
            started = clock()
            model.run([request])
            shortest[name] = min(shortest[name], clock() - started)
    return shortest
