"""The cost measurement finds exactly what a run costs if every run takes the time that `Cost` predicts."""

import dataclasses
from collections.abc import Callable

import numpy as np

from kit.checked_requests import signature
from rnnserve.protos.golden import Case
from rnnserve.server.batching.execution import Cost
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.repository.load_version import measure_cost
from rnnserve.server.repository.trial_requests import TrialRequests
from rnnserve.server.validation.signature import Batching

SIGNATURE = signature()
OUTPUTS = {**SIGNATURE.outputs, "more": dataclasses.replace(SIGNATURE.outputs["logits"], name="more")}
COST = Cost(run=512.5, step=8.25, point=2.125, padding=0.625)


class Model:
    """Its runs take the time of `cost` on its own clock. In eight of nine rounds a disturbance adds to it."""

    name = "priced"
    in_steps = None
    refuses_non_finite = False
    run_arrays = NotImplemented  # it makes no runs by steps
    statistics = Statistics()

    def __init__(self, cost: Cost, batching: Batching = Batching.PADDED, most_rows: int | None = None):
        inputs = dict(SIGNATURE.inputs)
        if most_rows is not None:
            limits = {"batch": (1, most_rows)}
            inputs["sequence input"] = dataclasses.replace(inputs["sequence input"], limits=limits)
        self.signature = dataclasses.replace(SIGNATURE, inputs=inputs, outputs=OUTPUTS, batching=batching)
        self.cost = cost
        self.ran = []
        self.time = 1000.0

    def run(self, requests):
        (request,) = requests
        rows, steps = request.batch, request.longest["sequence"]
        assert request.inputs["sequence input"].shape == (rows, request.sizes["sequence"], 2)
        lengths = request.inputs.get("sequence lengths", np.full(rows, steps))
        self.ran.append((rows, steps, int(lengths.min()), request.outputs))
        steps = int(lengths.max())  # as kernels, which make no step that no row has
        points = int(lengths.sum())
        padding = rows * steps - points
        self.time += self.cost.run + steps * self.cost.step + points * self.cost.point + padding * self.cost.padding
        self.time += 0.0 if self.ran.count(self.ran[-1]) >= 9 else 64.0
        return [{}]


def measured(model: Model, *sizes: int, clock: Callable[[], float] | None = None, **options: int) -> Cost:
    """Return the measured cost of a model whose golden cases have these sequence sizes."""
    cases = [
        Case("step", {"sequence input": np.ones((1, size, 2), np.float32), "sequence lengths": np.ones(1, int)}, {}, {})
        for size in sizes
    ]
    return measure_cost(model, TrialRequests(model.signature, cases), clock or (lambda: model.time), **options)


def test_cost_is_measured_for_any_lengths():
    model = Model(COST)
    assert measured(model, 1, 200) == COST
    first = ("logits",)  # one output is enough
    assert model.ran == 9 * [(2, 1, 1, first), (64, 64, 64, first), (2, 64, 64, first), (64, 64, 1, first)]


def test_trial_run_shrinks_when_memory_is_short():
    class Large(Model):
        def run(self, requests):
            if requests[0].batch * requests[0].longest["sequence"] > 1100:
                raise RuntimeError("Failed to allocate memory for requested buffer of size 4096")
            return super().run(requests)

    model = Large(COST)
    assert measured(model, 1, 200) == dataclasses.replace(COST, max_points=16 * 64)
    assert {ran[:2] for ran in model.ran} == {(2, 1), (16, 64), (2, 64)}
