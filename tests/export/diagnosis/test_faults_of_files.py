"""Faults planted in the recurrence and the head of an export: each is named, and nothing else is blamed."""

import numpy as np
import pytest
from torch import nn

from kit.checked_files import (
    change_head,
    change_weights,
    checked,
    drop_lengths,
    exported,
    forecaster,
    gates_swapped,
    recurrent,
    set_attribute,
    tagger,
    wrong_reset,
)
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx


def make_batch_first(model):
    set_attribute(recurrent(model), "layout", 1)


def swap_directions(model):
    change_weights(model, lambda array: array[::-1])


def freeze_batch(model):
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_value = 3


def freeze_length(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


def clip(model):
    set_attribute(recurrent(model), "clip", 0.05)


FAULTS = {
    "linear_before_reset": (wrong_reset, ["linear_before_reset=0", "the first node whose result differs"]),
    "no sequence_lens": (drop_lengths, ["no sequence_lens: it ignores the lengths", "whose result differs"]),
    "layout": (make_batch_first, ["(GRU) has layout=1, which onnxruntime does not run"]),
    "directions": (swap_directions, ["has its two directions swapped", "whose result differs"]),
    "batch": (freeze_batch, ['frozen batch: axis 0 of input "input" is always 3']),
    "length": (freeze_length, ['frozen length: axis 1 of input "input" is always 5']),
    "clip": (clip, ["has clip=0.05"]),
    "gates": (
        lambda model: change_weights(model, lambda array: gates_swapped(array, 3, 0, 1)),
        ["has its gates in the order r, z, h; ONNX's is z, r, h"],
    ),
    "head": (change_head, ['the first node whose result differs is the node "']),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_named(fault, tmp_path):
    plant, named = FAULTS[fault]
    model = exported(tagger())
    plant(model)
    faults = checked(tmp_path, model, tagger()).faults
    assert all(any(part in found for found in faults) for part in named), faults


def test_a_fault_in_the_head_is_not_blamed_on_the_recurrence(tmp_path):
    model = exported(tagger())
    change_head(model)
    faults = checked(tmp_path, model, tagger()).faults
    walked = next(fault for fault in faults if "the first node" in fault)
    assert "(GRU)" not in walked, walked
    assert "scores" in faults[-1]


def test_a_fault_in_the_recurrence_is_found_there(tmp_path):
    model = exported(tagger())
    wrong_reset(model)
    walked = [fault for fault in checked(tmp_path, model, tagger()).faults if "the first node" in fault]
    assert len(walked) == 1
    assert "(GRU)" in walked[0]


def test_gates_of_an_lstm_in_the_order_of_pytorch(tmp_path):
    model = exported(tagger(nn.LSTM))
    torch_order = lambda array: np.concatenate(  # noqa: E731 - i, f, c, o
        [
            np.concatenate([np.split(half, 4, 1)[at] for at in (0, 2, 3, 1)], 1)
            for half in np.split(array, 1 if array.ndim == 3 else 2, 1)
        ],
        1,
    )
    change_weights(model, torch_order)
    faults = checked(tmp_path, model, tagger(nn.LSTM)).faults
    assert any("gates in the order i, f, c, o; ONNX's is i, o, f, c" in fault for fault in faults), faults


def test_one_direction_backwards_is_named(tmp_path):
    model = exported(tagger(directions=1))
    set_attribute(recurrent(model), "direction", "reverse")
    faults = checked(tmp_path, model, tagger(directions=1)).faults
    assert any('has direction "reverse"; the module\'s layer is "forward"' in fault for fault in faults), faults


def test_an_ignored_state_is_named(tmp_path):
    model = exported(forecaster())
    recurrent(model).input[5] = ""
    faults = checked(tmp_path, model, forecaster()).faults
    assert any("it ignores the initial state" in fault for fault in faults), faults


def test_the_second_layer_is_blamed_and_not_the_first(tmp_path):
    model = exported(forecaster())
    nodes = [node for node in model.graph.node if node.op_type == "LSTM"]
    set_attribute(nodes[1], "clip", 0.05)
    faults = checked(tmp_path, model, forecaster()).faults
    title = f'node "{nodes[1].name}" (LSTM)'
    assert faults[0].startswith(f"{title} has clip=0.05")
    assert faults[1].startswith(f"the first node whose result differs is the {title}, ")


def other_weights(model):
    change_weights(model, lambda array: array if array.ndim == 2 else array * np.float32(1.5))


def other_biases(model):
    change_weights(model, lambda array: array + np.float32(0.5) if array.ndim == 2 else array)


def no_biases(model):
    recurrent(model).input[3] = ""


def couple_gates(model):
    set_attribute(recurrent(model), "input_forget", 1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (other_weights, "(LSTM) has other weights than the module: W up to "),
        (other_biases, "(LSTM) has other biases B than the module, up to 1 apart"),
        (no_biases, "(LSTM) has other biases B than the module, up to "),
        (couple_gates, "(LSTM) has input_forget=1: it couples the input and the forget gate"),
    ],
)
def test_other_numbers_in_the_recurrence_are_named(change, fault, tmp_path):
    model = exported(tagger(nn.LSTM))
    change(model)
    found = checked(tmp_path, model, tagger(nn.LSTM)).faults
    assert any(fault in each for each in found), found


def test_another_kind_of_recurrence_is_named(tmp_path):
    """A file of the same tensors, of another module."""
    faults = checked(tmp_path, exported(tagger(nn.LSTM)), tagger()).faults
    assert faults[0] == "its recurrent operators are LSTM; a right export of the module has GRU"


def test_another_width_is_named(tmp_path):
    wide = tagger()
    wide.module.cell, wide.module.head = nn.GRU(3, 6, batch_first=True, bidirectional=True), nn.Linear(12, 2)
    faults = checked(tmp_path, to_onnx(describe_model(wide)), tagger()).faults
    assert "has weights W and R of shapes [2, 18, 3] and [2, 18, 6], unlike the module's" in faults[0]
