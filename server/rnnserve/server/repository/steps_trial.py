"""Whether a model's requests may be run by steps: tried as they will be, with rows that join and leave."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.batching.step_run import StepRun
from rnnserve.server.clock import now
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Origin
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.signature import Batching

__all__ = ["goes_by_steps"]

_STEPS = (1, 2, 3, 5, 8, 13, 21, 33)
_ROWS = (1, 1, 2, 1, 3)
_REQUESTS = 24
_TOGETHER = (5, 1, 0, 3, 0, 2, 7)
"""How many requests join before a chunk, in turns."""


def goes_by_steps(model: Model, trials: TrialRequests) -> bool:
    """Run requests by steps, some joining while others go on, and compare all outputs with those of whole runs.

    Args:
        model: A model that is batch invariant, and whose sequences were found to be cut with the same bits, or not.
        trials: The source of its requests.

    Returns:
        Whether all have the same bits; False where it may not be tried.
    """
    signature = model.signature
    axes = signature.sequence_axes
    if model.why_not_in_parts or not model.batch_invariant or signature.batching is Batching.ALONE:
        return False
    if len(axes) != 1 or any(axis in spec.limits for axis, spec in axes.items()):
        return False  # a chunk might be of a size that it does not take
    requests = [
        trials.draw(_ROWS[at % len(_ROWS)], trials.sizes(_STEPS[at % len(_STEPS)]), lengths="drawn" if at % 3 else "")
        for at in range(_REQUESTS)
    ]
    return _by_steps(model, requests) == [_bytes_of(model.run([request])[0]) for request in requests]


def _by_steps(model: Model, requests: Sequence[CheckedRequest]) -> list[dict[str, bytes] | None]:
    """Run requests by steps; give the bytes of each one's answer, None for those that were refused."""
    waiting = [_TrialOfSteps(request) for request in requests]
    steps, at = StepRun(model, Statistics()), 0
    for turn in range(len(requests) * max(_STEPS)):
        count = _TOGETHER[turn % len(_TOGETHER)]
        steps.go_on(waiting[at : at + count])
        at += count
        if at >= len(waiting) and not steps.is_busy:
            break
    return [one.answered for one in waiting]


def _bytes_of(outputs: Mapping[str, Array]) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(array).tobytes() for name, array in outputs.items()}


class _TrialOfSteps(PendingRequest):
    """A request of a trial, which keeps its answer."""

    connection = ""

    __slots__ = ("_request", "answered")

    def __init__(self, request: CheckedRequest) -> None:
        super().__init__(request.batch, request.steps, math.inf, now())
        self._request = request
        self.answered: dict[str, bytes] | None = None

    def check(self) -> CheckedRequest:
        return self._request

    def answer(self, outputs: Mapping[str, Array]) -> None:
        self.answered = _bytes_of(outputs)

    def refuse(self, error: ServeError) -> None:
        """Keep none."""

    def origin(self) -> Origin:
        return Origin(peer="", request_id="")
