"""Further faults planted in exports, and files whose tensors are others than the module's."""

import numpy as np
import onnx
import pytest
from torch import nn

from kit.checked_files import (
    change_weights,
    checked,
    exported,
    forecaster,
    gates_swapped,
    recurrent,
    set_attribute,
    tagger,
)
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.diagnosis import CheckedFile, check_file
from rnnserve.export.model_onnx import to_onnx

FAULTS = {
    "layout": (lambda model: set_attribute(recurrent(model), "layout", 1), "(GRU) has layout=1"),
    "directions": (lambda model: change_weights(model, lambda array: array[::-1]), "has its two directions swapped"),
    "gates": (
        lambda model: change_weights(model, lambda array: gates_swapped(array, 3, 0, 1)),
        "has its gates in the order r, z, h",
    ),
    "weights": (
        lambda model: change_weights(model, lambda array: array if array.ndim == 2 else array * np.float32(1.5)),
        "has other weights than the module: W up to ",
    ),
    "biases": (lambda model: recurrent(model).input.__setitem__(3, ""), "has other biases B than the module"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_in_the_recurrence_is_named(fault, tmp_path):
    plant, phrase = FAULTS[fault]
    model = exported(tagger())
    plant(model)
    faults = checked(tmp_path, model, tagger()).faults
    assert any(phrase in found for found in faults), faults


def test_layer_in_one_direction_that_runs_backwards_is_named(tmp_path):
    model = exported(tagger(directions=1))
    set_attribute(recurrent(model), "direction", "reverse")
    faults = checked(tmp_path, model, tagger(directions=1)).faults
    assert any('has direction "reverse"; the module\'s layer is "forward"' in fault for fault in faults), faults


def test_ignored_state_is_named(tmp_path):
    model = exported(forecaster())
    recurrent(model).input[5] = ""
    faults = checked(tmp_path, model, forecaster()).faults
    assert any("it ignores the initial state" in fault for fault in faults), faults


def test_swapped_states_are_named(tmp_path):
    model = exported(forecaster())
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = {"h_0": "c_0", "c_0": "h_0"}.get(name, name)
    assert "has initial_h and initial_c swapped" in checked(tmp_path, model, forecaster()).faults[0]


def test_second_layer_is_blamed_and_not_the_first(tmp_path):
    model = exported(forecaster())
    nodes = [node for node in model.graph.node if node.op_type == "LSTM"]
    set_attribute(nodes[1], "clip", 0.05)
    faults = checked(tmp_path, model, forecaster()).faults
    title = f'node "{nodes[1].name}" (LSTM)'
    assert faults[0].startswith(f"{title} has clip=0.05")
    assert faults[1].startswith(f"the first node whose result differs is the {title}, ")


def test_another_kind_of_recurrence_is_named(tmp_path):
    faults = checked(tmp_path, exported(tagger(nn.LSTM)), tagger()).faults
    assert faults[0] == "its recurrent operators are LSTM; a right export of the module has GRU"


def test_another_width_is_named(tmp_path):
    wide = tagger()
    wide.module.cell, wide.module.head = nn.GRU(3, 6, batch_first=True, bidirectional=True), nn.Linear(12, 2)
    faults = checked(tmp_path, to_onnx(describe_model(wide)), tagger()).faults
    assert "has weights W and R of shapes [2, 18, 3] and [2, 18, 6], unlike the module's" in faults[0]


def test_tensors_of_other_names_are_matched_in_order(tmp_path):
    renamed = exported(tagger())
    for value, name in zip((*renamed.graph.input, *renamed.graph.output), ("x", "n", "y"), strict=True):
        before = value.name
        value.name = name
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "sequence":
                dim.dim_param = "time"
        for node in renamed.graph.node:
            for names in (node.input, node.output):
                for at, each in enumerate(names):
                    if each == before:
                        names[at] = name
    found = checked(tmp_path, renamed, tagger())
    assert found.faults == []
    assert 'input "x" is compared with the module\'s "input", by order' in found.differences
    assert any('named "time"' in difference for difference in found.differences)


def test_integers_of_another_type_are_cast(tmp_path):
    model = exported(tagger())
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
    found = checked(tmp_path, model, tagger())
    assert found == CheckedFile(['input "lengths" is int32; the module takes int64'], [])


def test_further_output_is_no_fault(tmp_path):
    model = exported(tagger())
    model.graph.output.append(onnx.helper.make_tensor_value_info("linear", onnx.TensorProto.FLOAT, [None] * 3))
    found = checked(tmp_path, model, tagger())
    assert found == CheckedFile(['output "linear" has no counterpart in the module, and is not compared'], [])


def test_weights_beside_the_file_are_read(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(exported(tagger()), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert check_file(path, tagger(), progress=False).faults == []


def test_missing_output_and_missing_axis_are_faults(tmp_path):
    model = exported(forecaster())
    model.graph.output.pop()
    assert 'missing output: nothing gives the module\'s "c_n"' in checked(tmp_path, model, forecaster()).faults
    model = exported(tagger())
    del model.graph.input[0].type.tensor_type.shape.dim[2]
    assert any("has 2 axes; expected 3" in fault for fault in checked(tmp_path, model, tagger()).faults)
