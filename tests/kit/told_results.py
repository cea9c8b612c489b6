"""A reference that gives what a test says, and the failures of a comparison with it."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity import ParityError
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.reference import FLOAT64, MOVES
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.value_comparison import ValueComparison

LIMITS = dataclasses.replace(
    limits_for("cpu"), step=1e-3, sample=1e-2, sequence_rms_factor=4.0, sequence_rms_floor=1e-3
)


class Sums(nn.Module):
    """Sums over the steps before each row's length, and the steps: zeros after the lengths, unless `kept`."""

    def __init__(self, *, kept=False):
        super().__init__()
        self.kept = kept

    def forward(self, x, lengths):
        steps = x * (torch.arange(x.size(1)) < lengths[:, None])[..., None]
        return steps.sum(1), x * 1 if self.kept else steps, steps[..., 0] > 0


def described(*, most_rows=None, **options):
    inputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}
    return describe_model(
        Publication(
            Sums(**options),
            "sums",
            inputs,
            ["sums", "steps", "flags"],
            labels=["a", "b", "c"],
            sizes={"batch": (1, most_rows)} if most_rows else {},
        )
    )


def rounded(outputs):
    return {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in outputs.items()}


class Told:
    """A reference that gives what a test says; eager is float64, rounded, unless said."""

    def __init__(self, exact, eager=None, moved=(), exact_by=FLOAT64, moved_weights=()):
        self.exact_by = exact_by
        self.runs = 0
        self._exact = exact
        self._eager = eager or rounded(exact)
        self._moved = moved
        self._moved_weights = moved_weights

    def eager(self, _inputs):
        return self._eager

    def exact(self, _inputs):
        return self._exact

    def moved(self, _inputs, seeds=MOVES):
        self.runs += 1
        yield from (self._moved[seed] for seed in seeds if seed < len(self._moved))

    def moved_weights(self, _inputs):
        yield from self._moved_weights


def sums(*rows):
    """Outputs for rows of one step that have these sums."""
    values = np.array(rows, dtype=np.float64)
    return {"sums": values, "steps": values[:, None], "flags": values[:, None, 0] > 0}


def judged(told, found, *, kind="random", model=None, lengths=None, judge=True):
    """The failures where onnxruntime gives `found`, and the comparison."""
    rows, steps = told.eager(None)["flags"].shape
    failures = FailureCollector()
    comparison = ValueComparison(model or described(), told, LIMITS, failures)
    inputs = {
        "x": np.zeros((rows, steps, 3), np.float32),
        "lengths": np.full(rows, steps) if lengths is None else np.array(lengths),
    }
    runner: Any = lambda _: found  # noqa: E731 - typed as a runner
    comparison.compare(InputBatch(kind, inputs, rows, steps), None, runner)
    return _outcome(comparison, failures, judge=judge)


def shifted(told, name, change):
    eager = told.eager(None)
    return eager | {name: (eager[name] + np.float32(change)).astype(np.float32)}


def many(told, found, batches, *, judge=True, most_rows=None):
    """The failures, and the comparison, of batches of random values: what each of them found in turn."""
    failures = FailureCollector()
    model = dataclasses.replace(described(most_rows=most_rows), labels=[], labelled="")
    comparison = ValueComparison(model, told, LIMITS, failures)
    rows = told.eager(None)["flags"].shape[0]
    inputs = {"x": np.zeros((rows, 1, 3), np.float32), "lengths": np.full(rows, 1)}
    for number in range(batches):
        runner: Any = lambda _, number=number: found(number)  # noqa: E731 - typed as a runner
        comparison.compare(InputBatch("random", inputs, rows, 1), None, runner)
    return _outcome(comparison, failures, judge=judge)


def _outcome(comparison, failures, *, judge):
    if judge:
        comparison.judge()
    try:
        failures.raise_if_any()
    except ParityError as error:
        return list(error.failures), comparison
    return [], comparison
