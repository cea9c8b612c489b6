"""What limits would have to be, on arrays whose distances are known."""

import math

import numpy as np
import pytest

from benchmarks.gpu.closeness import needed_by_batches, needed_by_cases
from kit.descriptions import describe_architecture
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, input_batches
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.models import Architecture
from rnnserve.protos.golden import Case

ULP = 2.0**-23


def case(kind, *, eager=0.0, exact=0.0):
    x = np.zeros((1, 2), np.float32)
    return Case(kind, {"x": x}, {"y": np.full((1, 2), eager, np.float32)}, {"y": np.full((1, 2), exact)})


def answers(value):
    return lambda _: {"y": np.full((1, 2), value, np.float32)}


def test_steps_count_from_eager_and_sequences_from_float64():
    cases = [case("step", eager=1.0, exact=5.0), case("random", eager=0.5, exact=0.75)]
    assert needed_by_cases(cases, answers(1.25), factor=1.0) == {
        "step": 0.25,
        "sequence_largest": 0.5,
        "sequence_rms_factor": 2.0,
        "sequence_rms_floor": 0.25,
    }


def test_limits_grow_with_large_values():
    assert needed_by_cases([case("step", eager=64.0)], answers(65.0), factor=1.0) == {"step": 0.25}
    needed = needed_by_cases([case("random", eager=63.0, exact=64.0)], answers(66.0), factor=1.0)
    assert needed == {"sequence_largest": 0.5, "sequence_rms_factor": 2.0, "sequence_rms_floor": 0.25}


def test_what_the_factor_allows_needs_no_floor():
    cases = [case("random", eager=0.5, exact=0.75)]
    assert needed_by_cases(cases, answers(1.25), factor=2.0)["sequence_rms_floor"] == 0.0


def test_an_exact_eager_leaves_only_the_floor():
    cases = [case("sample", eager=0.75, exact=0.75)]
    assert needed_by_cases(cases, answers(0.75), factor=4.0)["sequence_rms_factor"] == 0.0
    needed = needed_by_cases(cases, answers(1.25), factor=4.0)
    assert (needed["sequence_rms_factor"], needed["sequence_rms_floor"]) == (math.inf, 0.5)


def test_nan_is_no_small_distance():
    cases = [case("step"), case("random", eager=0.5, exact=0.75)]
    assert set(needed_by_cases(cases, answers(np.nan), factor=4.0).values()) == {math.inf}


@pytest.fixture(scope="module")
def described():
    return describe_architecture(Architecture(hidden=4))


def test_batches_of_the_proof_by_device(described, monkeypatch):
    """The CPU stands in for CUDA; there, every value but the zeros after lengths is moved."""
    monkeypatch.setattr(input_batches, "LENGTHS", (2, 5))
    right = OnnxRunner(to_onnx(described))

    def moved(inputs):
        return {name: array + np.float32(64 * ULP) * (array != 0) for name, array in right(inputs).items()}

    needed = needed_by_batches(described, reference_of(described), {"cpu": right, "cuda": moved})
    assert needed.keys() == {"cpu", "cuda"}
    for name, value in needed["cpu"].items():
        assert 0 <= value <= getattr(limits_for("cpu"), name)
    assert needed["cpu"]["sequence_rms_factor"] > 0.3
    assert needed["cuda"].keys() == {"step", "sample", "sequence_rms_factor", "sequence_rms_floor"}
    assert 60 * ULP <= needed["cuda"]["step"] <= needed["cpu"]["step"] + 65 * ULP
    assert needed["cuda"]["sequence_rms_factor"] > limits_for("cuda").sequence_rms_factor
    assert 0 < needed["cuda"]["sequence_rms_floor"] < 64 * ULP
