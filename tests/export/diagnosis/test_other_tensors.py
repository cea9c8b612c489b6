"""Files whose inputs and outputs are others than the module's: what is a fault, and what is none."""

import onnx
import pytest

from kit.checked_files import (
    checked,
    exported,
    forecaster,
    tagger,
)
from rnnserve.export.diagnosis import CheckedFile, check_file


def rename_inputs_of_nodes(model, names):
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)


def test_swapped_states_are_named(tmp_path):
    model = exported(forecaster())
    rename_inputs_of_nodes(model, {"h_0": "c_0", "c_0": "h_0"})
    faults = checked(tmp_path, model, forecaster()).faults
    assert "has initial_h and initial_c swapped" in faults[0]


def test_swapped_outputs_are_named(tmp_path):
    model = exported(forecaster())
    first, second = model.graph.output[1:]
    first.name, second.name = second.name, first.name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            node.output[at] = {"h_n": "c_n", "c_n": "h_n"}.get(name, name)
    faults = checked(tmp_path, model, forecaster()).faults
    assert faults[0] == 'output "h_n" gives what the module gives as "c_n": are two outputs swapped?'
    assert not any("the first node" in fault for fault in faults)


def test_right_exports_are_right(tmp_path):
    assert checked(tmp_path, exported(tagger()), tagger()) == CheckedFile([], [])
    assert checked(tmp_path, exported(forecaster()), forecaster()).faults == []


def test_other_names_are_matched_in_order(tmp_path):
    model = exported(tagger())
    text = model.SerializeToString()
    renamed = onnx.load_model_from_string(text)
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


def test_other_integers_are_cast(tmp_path):
    model = exported(tagger())
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
    found = checked(tmp_path, model, tagger())
    assert found == CheckedFile(['input "lengths" is int32; the module takes int64'], [])


def test_weights_beside_the_file_are_read(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(exported(tagger()), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert check_file(path, tagger(), progress=False).faults == []


def drop_output(model):
    model.graph.output.pop()


def add_input(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["batch"]))


def add_output(model):
    model.graph.output.append(onnx.helper.make_tensor_value_info("linear", onnx.TensorProto.FLOAT, [None] * 3))


def drop_axis(model):
    del model.graph.input[0].type.tensor_type.shape.dim[2]


def change_features(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 7


INTERFACES = {
    "no output": (forecaster, drop_output, 'missing output: nothing gives the module\'s "c_n"'),
    "one input more": (tagger, add_input, 'input "more" has no counterpart in the module, so it cannot be run'),
    "two axes": (tagger, drop_axis, 'input "input" has 2 axes; expected 3: (batch, sequence, features)'),
    "features": (tagger, change_features, 'axis 2 of input "input", "features", is 7; in the module it is 3'),
}


def test_an_output_more_is_no_fault(tmp_path):
    model = exported(tagger())
    add_output(model)
    found = checked(tmp_path, model, tagger())
    assert found == CheckedFile(['output "linear" has no counterpart in the module, and is not compared'], [])


@pytest.mark.parametrize("what", INTERFACES)
def test_other_tensors_are_faults(what, tmp_path):
    publication, change, fault = INTERFACES[what]
    model = exported(publication())
    change(model)
    assert fault in checked(tmp_path, model, publication()).faults
