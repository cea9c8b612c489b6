"""The tutorial's equalities, with runners that break one of them each."""

from typing import Any

import numpy as np
import pytest

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
        return lines, list(error.failures)
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
def test_right_runner_has_all_equalities(architecture):
    lines, failures = check(architecture)
    assert failures == []
    assert lines == [line for line in ALL if not (architecture.bidirectional and "two parts" in line)]


def lose_state(inputs, outputs):
    """Of the second part of a sequence that is cut in two."""
    if inputs["input"].shape[1] == 8 and (inputs["lengths"] == 8).all():
        outputs["h_n"] = outputs["h_n"] + np.float32(1e-3)
    return outputs


def compose_otherwise(inputs, outputs):
    if (inputs["lengths"] != inputs["input"].shape[1]).any():
        outputs["logits"] = outputs["logits"] + np.float32(1e-3)
    return outputs


def move_final_state(_, outputs):
    outputs["h_n"] = np.nextafter(outputs["h_n"], np.float32(2))
    return outputs


def count_padding(inputs, outputs):
    outputs["logits"] = outputs["logits"] + np.float32(1e-9) * inputs["input"].max()
    return outputs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose_state, ', in two parts: "h_n" found 0.001 from float64 (root mean square), expected'),
        (compose_otherwise, ', composed by hand: "logits" found 0.001 from float64'),
        (move_final_state, ', final states: "h_n" at ['),
        (count_padding, ', padding: "logits" at ['),
    ],
)
def test_broken_equality_is_named_with_its_tensor(change, said):
    for bidirectional in (False, change is move_final_state):
        (failure,) = check(Architecture(num_layers=1 + bidirectional, bidirectional=bidirectional, hidden=3), change)[1]
        assert said in failure
