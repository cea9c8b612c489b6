"""A model of numpy whose sequences may be cut, running sums, and requests of it, which note what comes of them."""

import math

import numpy as np

from rnnserve.server.batching.batch_arrays import join, split
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.signature import Batching, Signature, TensorSpec
from rnnserve.server.clock import now
from rnnserve.server.errors import InvalidRequest

__all__ = ["POISON", "Caller", "Sums", "any_request", "assert_as_whole", "request_of"]

INPUT = TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
LENGTHS = TensorSpec("lengths", "INT64", ("batch",), (-1,), optional=True, lengths_of="sequence")
SCALE = TensorSpec("scale", "FP32", ("batch",), (-1,), optional=True, default=np.ones(1, np.float32))
INITIAL = TensorSpec("sum_0", "FP32", ("layers", "batch", "features"), (1, -1, 2), optional=True)
OUTPUT = TensorSpec("output", "FP32", ("sequence", "batch", "features"), (-1, -1, 2), zeros_after_lengths=True)
UNCUT = TensorSpec("uncut", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
LAST = TensorSpec("last", "FP32", ("batch", "features"), (-1, 2))
FINAL = TensorSpec("sum_n", "FP32", ("layers", "batch", "features"), (1, -1, 2), continues_as="sum_0")

POISON = 1e30
"""A value that a run of it refuses."""


class Sums:
    """Sums over the steps, in the order of the steps, so that any cut has the same bits."""

    name = "sums"
    refuses_non_finite = False
    in_steps: "Sums | None" = None

    def __init__(self, *, has_lengths=True, cost=None):
        inputs = [INPUT, LENGTHS, SCALE, INITIAL] if has_lengths else [INPUT, SCALE, INITIAL]
        self.signature = Signature(
            {spec.name: spec for spec in inputs},
            {spec.name: spec for spec in (OUTPUT, UNCUT, LAST, FINAL)},
            Batching.PADDED if has_lengths else Batching.JOINED,
        )
        self.cost = cost or Cost(run=1e-5, step=1e-5, point=1e-6, padding=1e-6)
        self.statistics = Statistics()
        self.runs: list[tuple[int, int]] = []

    def run_arrays(self, names, feeds):
        rows, steps = feeds["input"].shape[:2]
        assert rows % 2 == 0
        self.runs.append((rows, steps))
        if (feeds["input"] == POISON).any():
            raise InvalidRequest("poisoned")
        lengths = feeds.get("lengths", np.full(rows, steps))
        assert (lengths >= 1).all()
        assert (lengths <= steps).all()
        total = feeds["sum_0"][0].copy()
        output, uncut = np.zeros((steps, rows, 2), np.float32), np.zeros((rows, steps, 2), np.float32)
        for step in range(steps):
            after = total * np.float32(0.9) + feeds["input"][:, step] * feeds["scale"][:, None]
            goes = (step < lengths)[:, None]
            total = np.where(goes, after, total)
            output[step] = np.where(goes, after, 0)
            uncut[:, step] = after
        results = {"output": output, "uncut": uncut, "last": total + 0, "sum_n": total[None]}
        return [results[name] for name in names]

    def run(self, requests):
        wanted = list(self.signature.outputs)
        results = self.run_arrays(wanted, join(requests, self.signature))
        return split(requests, dict(zip(wanted, results, strict=True)), self.signature)


class Caller(PendingRequest):
    """Notes its outcomes."""

    connection = "one"

    def __init__(self, request, deadline=math.inf):
        super().__init__(request.batch, request.steps, deadline, now())
        self.request = request
        self.outcomes = []

    def origin(self):
        raise NotImplementedError

    def check(self):
        return self.request

    def answer(self, outputs):
        self.outcomes.append({name: np.array(array) for name, array in outputs.items()})

    def refuse(self, error):
        self.outcomes.append(error)

    @property
    def outcome(self):
        (outcome,) = self.outcomes
        return outcome


def request_of(model, draw, batch=1, steps=None, outputs=(), **sent):
    steps = steps or draw.randint(1, 40)
    values = np.random.default_rng(draw.randint(0, 1 << 30))
    inputs = {"input": values.normal(size=(batch, steps, 2)).astype(np.float32), **sent}
    names = tuple(outputs) or tuple(draw.sample(list(model.signature.outputs), draw.randint(1, 4)))
    sizes = {"sequence": steps}
    longest = model.signature.longest(sizes, inputs, names)
    return CheckedRequest(batch, sizes, longest, model.signature.steps_of(longest), inputs, names)


def any_request(model, draw):
    """A request with whatever a request may have."""
    batch, steps = draw.choice((1, 1, 1, 2, 3, 7)), draw.choice((1, 2, 3, 5, 8, 13, 40))
    values = np.random.default_rng(draw.randint(0, 1 << 30))
    sent = {}
    if "lengths" in model.signature.inputs and draw.random() < 0.5:
        sent["lengths"] = values.integers(1, steps + 1, batch)
    if draw.random() < 0.5:
        sent["sum_0"] = values.normal(size=(1, batch, 2)).astype(np.float32)
    if draw.random() < 0.3:
        sent["scale"] = values.normal(size=batch).astype(np.float32)
    return request_of(model, draw, batch, steps, **sent)


def assert_as_whole(model, caller):
    (expected,) = model.run([caller.request])
    assert caller.outcome.keys() == set(caller.request.outputs)
    for name, array in caller.outcome.items():
        assert array.shape == expected[name].shape
        assert array.tobytes() == expected[name].tobytes(), name
