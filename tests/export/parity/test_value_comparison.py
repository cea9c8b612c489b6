"""How parity judges each kind of input: limits, integers, labels, and when it runs eager again on moved inputs."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.batches import InputBatch
from rnnserve.export.parity.reference import FLOAT64, MOVED, MOVES
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.value_comparison import FailureCollector, ValueComparison

LIMITS = dataclasses.replace(
    limits_for("cpu"), step=1e-3, sample=1e-2, sequence_rms_factor=4.0, sequence_rms_floor=1e-3
)


class Sums(nn.Module):
    """Sums over the steps before each row's length; the steps, zeros after the lengths; and flags."""

    def forward(self, x, lengths):
        steps = x * (torch.arange(x.size(1)) < lengths[:, None])[..., None]
        return steps.sum(1), steps, steps[..., 0] > 0


@pytest.fixture(scope="module")
def model():
    inputs, outputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}, ["sums", "steps", "flags"]
    return describe_model(Publication(Sums(), "sums", inputs, outputs, labels=["a", "b", "c"]))


def rounded(outputs):
    return {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in outputs.items()}


class Given:
    """A reference with given results. Eager is float64, rounded, by default."""

    def __init__(self, exact, eager=None, moved=(), exact_by=FLOAT64, moved_weights=()):
        self.exact_by, self.runs, self.exact_runs = exact_by, 0, 0
        self._exact, self._eager = exact, eager or rounded(exact)
        self._moved, self._moved_weights = moved, moved_weights

    def eager(self, _inputs):
        return self._eager

    def exact(self, _inputs):
        self.exact_runs += 1
        return self._exact

    def moved(self, _inputs, seeds=MOVES):
        self.runs += 1
        yield from (self._moved[seed] for seed in seeds if seed < len(self._moved))

    def moved_weights(self, _inputs):
        yield from self._moved_weights

    def shifted(self, name, change):
        """Eager's results with a change in one tensor."""
        return self._eager | {name: (self._eager[name] + np.float32(change)).astype(np.float32)}


def sums(*rows):
    """Outputs for rows of one step that have these sums."""
    values = np.array(rows, dtype=np.float64)
    return {"sums": values, "steps": values[:, None], "flags": values[:, None, 0] > 0}


def judged(model, reference, found, *, kinds=("random",), lengths=None, judge=True):
    """Compare one batch of each kind whose results are `found`. Return the failures and the comparison."""
    rows, steps = reference.eager(None)["flags"].shape
    inputs: Any = {
        "x": np.zeros((rows, steps, 3), np.float32),
        "lengths": np.full(rows, steps) if lengths is None else np.array(lengths),
    }
    failures = FailureCollector()
    comparison = ValueComparison(model, reference, LIMITS, failures)
    length = 1000 if "long" in kinds else steps
    for number, kind in enumerate(kinds):
        runner: Any = lambda _, number=number: found(number) if callable(found) else found  # noqa: E731
        comparison.compare([InputBatch(kind, inputs, rows, length)], None, runner)
    if judge:
        comparison.judge()
    return failures.lines(), comparison


@pytest.mark.parametrize(
    ("kind", "change", "allowed"),
    [("step", 0.9e-3, None), ("step", 1.1e-3, 0.001), ("sample", 0.9e-2, None), ("sample", 1.1e-2, 0.01)],
)
def test_each_kind_of_input_has_its_limit(model, kind, change, allowed):
    reference = Given(sums([0, 0, 0], [0, 0, 0]))
    failures, _ = judged(model, reference, reference.shifted("sums", change), kinds=[kind], judge=False)
    assert len(failures) == (allowed is not None)
    for failure in failures:
        assert failure.startswith(f'onnx, {kind}: "sums" at [0, 0] of {kind} of batch 2, sequence 1: found ')
        assert failure.endswith(f" apart, {allowed} allowed")


def test_limit_grows_with_large_values_and_eagers_rounding(model):
    exact = sums([0, 0, 0])
    large, coarse = Given(sums([32, 0, 0])), Given(exact, rounded(exact) | {"sums": np.full((1, 3), 1e-3, np.float32)})
    for reference, change, passes in ((large, 1.9e-3, 1), (large, 2.1e-3, 0), (coarse, 4.9e-3, 1), (coarse, 5.1e-3, 0)):
        failures, _ = judged(model, reference, reference.shifted("sums", change), kinds=["step"], judge=False)
        assert (failures == []) == passes, change


def test_differing_integers_and_flags_are_failures(model):
    reference = Given(sums([1, 0, 0], [1, 0, 0]))
    found = reference.eager(None) | {"flags": np.array([[True], [False]])}
    (failure,) = judged(model, reference, found, kinds=["step"], judge=False)[0]
    assert failure.startswith('onnx, step, integers: "flags" at [1, 0] of step of batch 2')
    assert "found 0, expected 1" in failure
    reference = Given(sums([1, 0, 0]) | {"flags": np.array([[3]])})
    found = reference.eager(None) | {"flags": np.array([[4]])}
    (failure,) = judged(model, reference, found, kinds=["step"], judge=False)[0]
    assert "an index from argmax, max or sort" in failure
    exact = sums([1, 0, 0])
    undecided = Given(exact, rounded(exact) | {"flags": np.array([[False]])})  # eager and float64 disagree
    found = undecided.eager(None) | {"flags": np.array([[True]])}
    assert judged(model, undecided, found, judge=False)[0] == []


def padded(after):
    """Two rows of lengths 1 and 2. The second step of the first is `after`."""
    exact = sums([1, 0, 0], [1, 0, 0])
    steps = np.array([[[1, 0, 0], [after] * 3], [[1, 0, 0]] * 2], dtype=np.float64)
    return exact | {"steps": steps, "flags": np.array([[True, False], [True, True]])}


def test_zeros_after_lengths_stay_zeros_and_other_values_do_not_count(model):
    reference = Given(padded(0))
    found = reference.eager(None) | {"steps": padded(7)["steps"].astype(np.float32)}
    (failure,), comparison = judged(model, reference, found, lengths=[1, 2])
    assert failure.startswith('onnx, zeros after lengths: "steps" at [0, 1, 0] of random of batch 2')
    assert comparison.zeros_after_lengths == {"steps", "flags"}
    reference = Given(padded(7))
    found = reference.eager(None) | {"steps": padded(-9)["steps"].astype(np.float32)}
    for kind in ("step", "random"):
        failures, comparison = judged(model, reference, found, kinds=[kind], lengths=[1, 2])
        assert (failures, comparison.zeros_after_lengths) == ([], {"flags"})


def test_refusal_of_onnxruntime_is_a_failure(model):
    def refuse(_):
        raise RuntimeError("onnxruntime does not run it")

    failures, _ = judged(model, Given(sums([1, 0, 0])), refuse, judge=False)
    assert failures == ["onnx, random: random of batch 1, sequence 1: onnxruntime does not run it"]


ZEROS = sums([0, 0, 0])


def moved_by(change):
    return rounded(ZEROS | {"sums": ZEROS["sums"] + change})


def test_eager_that_is_accidentally_exact_runs_again_on_moved_inputs(model):
    reference = Given(ZEROS, moved=[moved_by(5e-3)])
    assert judged(model, reference, reference.shifted("sums", 5e-3))[0] == []
    assert reference.runs == 1
    (failure,) = judged(model, Given(ZEROS), reference.shifted("sums", 5e-3))[0]
    assert failure.startswith('onnx, random: "sums" at sequence 1: differs from float64 by 0.005')
    agreeing = Given(ZEROS, moved=[moved_by(5e-3)])
    assert judged(model, agreeing, agreeing.eager(None))[0] == []
    assert agreeing.runs == 0


@pytest.mark.parametrize(
    ("kind", "inputs_move", "passes"),
    [("tiny", True, True), ("zeros", False, True), ("random", False, True), ("random", True, False)],
)
def test_weights_are_moved_if_moved_inputs_do_not_show_rounding(model, kind, inputs_move, passes):
    reference = Given(ZEROS, moved=[moved_by(1e-6 * inputs_move)], moved_weights=[moved_by(5e-3)])
    assert (judged(model, reference, reference.shifted("sums", 5e-3), kinds=[kind])[0] == []) == passes
    assert judged(model, reference, reference.shifted("sums", 5e-2), kinds=[kind])[0]  # no rounding explains it


@pytest.mark.parametrize(
    ("kinds", "away", "said"),
    [(["long"], 9e-3, True), (["long"], 1.1e-2, False), (["long", "random"], 9e-3, False), (["zeros"], 9e-3, False)],
)
def test_rounding_only_in_long_rows_is_reported_with_advice(model, kinds, away, said):
    reference = Given(ZEROS)
    failures, _ = judged(model, reference, lambda _: reference.shifted("sums", away), kinds=kinds)
    assert len(failures) == len(kinds) + said
    assert failures[-1].startswith("Only long rows differ, from ") == said


@pytest.mark.parametrize(("large_from", "runs"), [(0, 1), (1, 1), (2, 2), (7, 2)])
def test_inputs_move_more_often_if_two_moves_show_too_little(model, large_from, runs):
    moved = [moved_by(2e-2 if number == large_from else 1e-6) for number in range(8)]
    reference = Given(ZEROS, moved=moved)
    assert judged(model, reference, reference.shifted("sums", 1e-2))[0] == []
    assert reference.runs == runs


def test_moved_inputs_decide_when_the_module_has_no_float64(model):
    reference = Given(sums([1, 0, 0]), moved=[moved_by(5e-3)], exact_by=MOVED)
    assert judged(model, reference, reference.eager(None))[0] == []
    assert reference.runs == 1
