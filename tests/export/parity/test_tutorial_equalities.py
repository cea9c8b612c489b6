"""The tutorial's equalities, on runners that break one of them each: what is said, and of which tensors."""

from typing import Any

import numpy as np
import pytest
import torch

from kit.descriptions import describe_architecture
from rnnserve.export.parity import ParityError
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.tutorial_equalities import check_tutorial_equalities
from rnnserve.export.torch_threads import one_thread
from rnnserve.models import Architecture

ALL = [
    "tutorial: cells in a loop, layers stacked and directions composed by hand give the same",
    "tutorial: h_n is output at each row's last point, or backwards at its first: bit for bit",
    "tutorial: a sequence in two parts, states carried over, gives the same as the whole",
    "tutorial: values after a row's length change nothing, bit for bit",
]


def check(architecture, change=lambda _, outputs: outputs):
    """What is recorded, and the failures, of a runner that gives eager's results, changed."""
    model = describe_architecture(architecture)
    reference, failures = reference_of(model), FailureCollector()

    run: Any = lambda inputs: change(inputs, dict(reference.eager(inputs)))  # noqa: E731 - typed as a runner
    with one_thread():
        lines = check_tutorial_equalities(model, reference, run, limits_for("cpu"), failures, 0)
    try:
        failures.raise_if_any()
    except ParityError as error:
        return lines, [failure.partition(" ")[0] + failure.partition(",")[2] for failure in error.failures]
    return lines, []


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(hidden=3),
        Architecture(cell="lstm", num_layers=2, hidden=3),
        Architecture(cell="gru", num_layers=2, bidirectional=True, hidden=3),
    ],
    ids=lambda architecture: architecture.cell,
)
def test_a_right_runner_has_all_of_them(architecture):
    lines, failures = check(architecture)
    assert failures == []
    assert lines == [line for line in ALL if not (architecture.bidirectional and "two parts" in line)]


def lengths_are(inputs, wanted):
    return inputs["input"].shape[1] == wanted and (inputs["lengths"] == wanted).all()


def test_a_state_that_is_not_carried_over():
    def change(inputs, outputs):
        if lengths_are(inputs, 8):  # the second part
            outputs["h_n"] = outputs["h_n"] + np.float32(1e-3)
        return outputs

    _, failures = check(Architecture(hidden=3), change)
    assert len(failures) == 1
    assert failures[0].startswith('onnx, in two parts: "h_n" found 0.001 from float64 (root mean square), expected')


def test_an_output_that_is_composed_otherwise():
    def change(inputs, outputs):
        if not lengths_are(inputs, inputs["input"].shape[1]):
            outputs["logits"] = outputs["logits"] + np.float32(1e-3)
        return outputs

    _, failures = check(Architecture(hidden=3), change)
    assert len(failures) == 1
    assert failures[0].startswith('onnx, composed by hand: "logits" found 0.001 from float64')


@pytest.mark.parametrize("bidirectional", [False, True])
def test_final_states_that_are_others(bidirectional):
    def change(_, outputs):
        outputs["h_n"] = np.nextafter(outputs["h_n"], np.float32(2))
        return outputs

    _, failures = check(Architecture(num_layers=2, bidirectional=bidirectional, hidden=3), change)
    assert len(failures) == 1
    assert failures[0].startswith('onnx, final states: "h_n" at [')
    assert failures[0].endswith(", 0 allowed")


def test_values_after_the_lengths_that_count():
    def change(inputs, outputs):
        outputs["logits"] = outputs["logits"] + np.float32(1e-9) * inputs["input"].max()
        return outputs

    _, failures = check(Architecture(hidden=3), change)
    assert len(failures) == 1
    assert failures[0].startswith('onnx, padding: "logits" at [')


def test_outputs_that_are_missing_or_of_another_shape_are_left_to_other_checks():
    def change(_, outputs):
        del outputs["output"]
        outputs["logits"] = outputs["logits"][:, :1]
        return outputs

    _, failures = check(Architecture(hidden=3), change)
    assert failures == []


def test_without_a_runner_eager_is_checked():
    model = describe_architecture(Architecture(hidden=3))
    failures = FailureCollector()
    with one_thread():
        assert check_tutorial_equalities(model, reference_of(model), None, limits_for("cpu"), failures, 0) == ALL
    assert len(failures) == 0


def test_another_module_is_no_classifier():
    model = describe_architecture(Architecture(hidden=3))
    reference = reference_of(model)
    reference.module = torch.nn.Identity()
    with pytest.raises(TypeError, match=r"those of a DirectionClassifier, not of a Identity$"):
        check_tutorial_equalities(model, reference, None, limits_for("cpu"), FailureCollector(), 0)
