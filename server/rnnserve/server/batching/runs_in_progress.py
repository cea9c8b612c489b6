"""When each run of a model began: what never ends is found by it.

An operator may run for ever: a Loop of the graph that a value of the input keeps going. onnxruntime cannot be asked to
end it, and its thread does nothing else meanwhile; on the fast path's thread it holds up every model.
"""

from typing import NamedTuple, Protocol

from rnnserve.server.batching.cost import Cost
from rnnserve.server.clock import now

__all__ = ["LongRun", "longest_run", "runs_in_progress"]

_COST_FACTOR = 10.0
"""How many times its measured cost a run may take, beside the limit: costs are measured on an idle machine."""


class _Model(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def cost(self) -> Cost: ...


class _Batch(Protocol):
    @property
    def rows(self) -> int: ...

    @property
    def steps(self) -> int: ...


class LongRun(NamedTuple):
    """A run that takes too long.

    Attributes:
        model: Name of its model.
        seconds: Seconds since it began.
    """

    model: str
    seconds: float

    def __str__(self) -> str:
        return f"a run of {self.model} has not ended after {self.seconds:.1f} s (--max-run)"


runs_in_progress: dict[int, tuple[_Model, _Batch, float]] = {}
"""By the thread that makes it: the model, the batch, and when its run began, on the clock of `clock`."""


def longest_run(limit: float) -> LongRun | None:
    """Return the run that has gone on for longest, if that is longer than it may.

    Args:
        limit: Seconds that a run may take beside ten times its measured cost.
    """
    at, found = now(), None
    for model, batch, began in list(runs_in_progress.values()):
        seconds = at - began
        if seconds > limit and seconds > limit + _COST_FACTOR * _cost(model.cost, batch):
            found = max(found or LongRun("", 0.0), LongRun(model.name, seconds), key=lambda run: run.seconds)
    return found


def _cost(cost: Cost, batch: _Batch) -> float:
    rows = max(batch.rows, 1)
    return cost.of(rows, -(-batch.steps // rows))
