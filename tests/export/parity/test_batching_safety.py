"""How it is found which requests may share a run: which inputs are tried, and what is said of each dependence."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.descriptions import tensors_described
from rnnserve.export.description.input_descriptions import Floats, Integers, Lengths
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.reference import FLOAT64, MOVED
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.protos import manifest_pb2

DESCRIBED = {
    "x": Floats("batch", "sequence"),
    "words": Integers("batch", "sequence", low=1, high=5),
    "lengths": Lengths(),
}
SIZES = {"batch": (1, 33), "sequence": (1, 128)}


def steps_before(inputs):
    within = np.arange(inputs["x"].shape[1]) < inputs["lengths"][:, None]
    return np.where(within, inputs["x"], 0)


def found(compute, *, described=None, exact_by=FLOAT64, sizes=None, outputs=None, rows=(0, 0)):
    seen = []

    def run(inputs):
        seen.append(inputs)
        return compute(inputs)

    model = tensors_described(described or DESCRIBED, outputs or {"y": Floats("batch", 1)}, sizes or SIZES)
    for tensor in model.inputs:
        tensor.axes[0].smallest, tensor.axes[0].largest = rows
    reference: Any = SimpleNamespace(exact=run, exact_by=exact_by)
    batching = find_batching(model, reference, limits_for("cpu"), 0)
    return manifest_pb2.BatchingMode.Name(batching.mode), list(batching.reasons), seen


def right(inputs):
    return {"y": steps_before(inputs).astype(np.float64).sum(1, keepdims=True)}


def test_rows_that_depend_on_nothing_are_padded():
    mode, reasons, _ = found(right)
    assert (mode, reasons) == ("BATCHING_PADDED", [])


def test_inputs_are_such_as_servers_make():
    """Bounds of integers hold in padding and in the row that makes a batch even, too; sizes are those of the model."""
    _, _, seen = found(right, sizes={"batch": (1, 33), "sequence": (2, 16)})
    lengths = {inputs["x"].shape[1] for inputs in seen}
    assert lengths == {2, 3, 4, 8, 11, 12, 13, 16}
    assert {len(inputs["x"]) for inputs in seen} == {1, 2, 5}
    for inputs in seen:
        assert inputs["words"].min() >= 1
        assert inputs["words"].max() < 5
        assert inputs["lengths"].min() >= 2
        assert inputs["lengths"].max() <= inputs["x"].shape[1]


@pytest.mark.parametrize(
    ("compute", "mode", "reason"),
    [
        (
            lambda inputs: {"y": right(inputs)["y"] + len(inputs["x"])},
            "BATCHING_ALONE",
            '"y" of a row changes by 4 when other rows are in its batch: does the module normalise, sort or average '
            "over the batch axis?",
        ),
        (
            lambda inputs: {"y": right(inputs)["y"] + inputs["x"].shape[1]},
            "BATCHING_JOINED",
            '"y" of a row changes by 9 when up to 9 steps of padding are added: does the module average over all '
            "steps, or read the last one? Use the lengths: sum before each length and divide by it, or read h_n. "
            "An output of fewer steps than its input has to be zero after them",
        ),
        (
            lambda inputs: {"y": right(inputs)["y"] + (inputs["x"] != steps_before(inputs)).any()},
            "BATCHING_JOINED",
            '"y" of a row changes by 1 when the values after its length change: is something computed over all steps, '
            "such as a mean, a maximum or a convolution? Mask it by the lengths",
        ),
    ],
)
def test_what_is_said_of_a_dependence(compute, mode, reason):
    assert found(compute)[:2] == (mode, [reason])


SELDOM = {
    "a turn of the rows": (lambda inputs: np.flip(inputs["x"], 0)[:, :1] > 60, "ALONE"),
    "rows in order": (lambda inputs: np.sort(inputs["x"], 0)[:, :1] > 60, "ALONE"),
    "the row before": (lambda inputs: np.roll(inputs["x"], 1, 0)[:, :1] > 60, "ALONE"),
    "padding": (lambda inputs: (inputs["x"] - steps_before(inputs)).max(1, keepdims=True) > 60, "JOINED"),
}


@pytest.mark.parametrize("name", SELDOM)
def test_what_only_loud_values_show_is_seen(name):
    reads, mode = SELDOM[name]
    assert found(lambda inputs: {"y": right(inputs)["y"] + reads(inputs)})[0] == f"BATCHING_{mode}"


@pytest.mark.parametrize(
    ("exact_by", "change", "mode"),
    [
        (FLOAT64, 0.9e-9, "BATCHING_PADDED"),
        (FLOAT64, 1.1e-9, "BATCHING_ALONE"),
        (MOVED, 0.9e-4, "BATCHING_PADDED"),
        (MOVED, 1.1e-4, "BATCHING_ALONE"),
    ],
)
def test_rounding_is_no_dependence(exact_by, change, mode):
    def compute(inputs):
        return {"y": np.full((len(inputs["x"]), 1), change if len(inputs["x"]) == 5 else 0.0)}

    assert found(compute, exact_by=exact_by)[0] == mode


def test_integers_are_equal_or_depend():
    def compute(inputs):
        return {"y": np.full((len(inputs["x"]), 1), len(inputs["x"]) == 5, dtype=np.int64)}

    mode, reasons, _ = found(compute, outputs={"y": Integers("batch", 1, high=9)})
    assert mode == "BATCHING_ALONE"
    assert reasons[0].startswith('"y" of a row changes by 1 when other rows')


def test_values_after_the_lengths_may_be_any():
    def compute(inputs):
        noise = np.random.default_rng(len(inputs["x"])).standard_normal(inputs["x"].shape)
        within = np.arange(inputs["x"].shape[1]) < inputs["lengths"][:, None]
        return {"y": np.where(within, inputs["x"], noise)}

    assert found(compute, outputs={"y": Floats("batch", "sequence")})[0] == "BATCHING_PADDED"


def test_without_lengths_only_equal_sizes_share_a_run():
    described = {"x": DESCRIBED["x"]}
    assert found(lambda inputs: {"y": inputs["x"][:, :1]}, described=described)[:2] == (
        "BATCHING_JOINED",
        ['no input holds the lengths of the axis "sequence", so the model could not tell where a padded row ends'],
    )


def test_without_sequences_all_requests_share_a_run():
    described = {"x": Floats("batch", 3)}
    assert found(lambda inputs: {"y": inputs["x"][:, :1]}, described=described, sizes={"batch": (1, 3)})[:2] == (
        "BATCHING_JOINED",
        ["the model has no sequence axis, so there is nothing to pad"],
    )


@pytest.mark.parametrize(("smallest", "largest"), [(2, 8), (1, 8)])
def test_a_model_of_some_numbers_of_rows_runs_alone(smallest, largest):
    mode, reasons, seen = found(right, rows=(smallest, largest))
    assert mode == "BATCHING_ALONE"
    assert reasons == [
        f"the model takes {smallest} to {largest} rows only, so the number of rows in a run cannot be chosen"
    ]
    assert seen == []


def test_sequences_of_one_length_have_nothing_to_pad():
    assert found(right, sizes={"batch": (1, 33), "sequence": (6, 6)})[:2] == (
        "BATCHING_JOINED",
        ['the axis "sequence" always has 6 steps, so there is nothing to pad'],
    )
