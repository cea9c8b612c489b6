"""`rnnserve check`: a file is right, or every fault is named, with the first operator of the module that differs."""

import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kit.checked_files import (
    change_head,
    change_weights,
    checked,
    drop_lengths,
    exported,
    forecaster,
    recurrent,
    set_attribute,
    tagger,
    wrong_reset,
)
from rnnserve.cli import main
from rnnserve.export.description.targets import load_publications
from rnnserve.export.file_check import check_file


def freeze_batch(model):
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_value = 3


def freeze_lengths(model):
    model.graph.input.pop()
    model.graph.initializer.append(numpy_helper.from_array(np.full(3, 5), "lengths"))


def swap_directions(model):
    change_weights(model, lambda array: array[::-1])


GRU_OF_TAGGER = r'^the first operator whose result differs is GRU "cell" \(checked_files\.py:\d+\)$'
NONE = "^$"
FAULTS = {
    "another formula": (wrong_reset, "linear_before_reset=0", GRU_OF_TAGGER),
    "swapped directions": (swap_directions, '"scores"', GRU_OF_TAGGER),
    "ignored lengths": (drop_lengths, '"scores"', GRU_OF_TAGGER),
    "another bias in the head": (change_head, '"scores"', r' in "head" \(checked_files\.py:\d+\)$'),
    "a frozen batch": (freeze_batch, '"input" has axes (3, sequence, 3); expected (batch, sequence, 3)', NONE),
    "a layout that onnxruntime lacks": (lambda model: set_attribute(recurrent(model), "layout", 1), "layout", NONE),
    "frozen lengths": (freeze_lengths, 'inputs are "input"; expected "input", "lengths"', ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_and_the_operator_that_differs_are_named(fault, tmp_path):
    plant, phrase, operator = FAULTS[fault]
    model = exported(tagger())
    plant(model)
    found = checked(tmp_path, model, tagger())
    assert any(phrase in each for each in found.faults), found.faults
    assert re.search(operator, found.operator), found


def test_right_exports_have_no_faults(tmp_path):
    found = checked(tmp_path, exported(tagger()), tagger())
    assert not found.faults
    assert 0 < found.largest < 1e-5
    assert not checked(tmp_path, exported(forecaster()), forecaster()).faults


def test_second_layer_is_blamed_and_not_the_first(tmp_path):
    model = exported(forecaster())
    set_attribute([node for node in model.graph.node if node.op_type == "LSTM"][1], "clip", 0.05)
    found = checked(tmp_path, model, forecaster())
    assert any('"values"' in fault for fault in found.faults)
    assert 'LSTM "lstm"' in found.operator


def test_swapped_outputs_are_wrong_and_no_operator_is_blamed(tmp_path):
    model = exported(forecaster())
    first, second = model.graph.output[1:]
    first.name, second.name = second.name, first.name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            node.output[at] = {"h_n": "c_n", "c_n": "h_n"}.get(name, name)
    found = checked(tmp_path, model, forecaster())
    assert any('"h_n"' in fault for fault in found.faults)
    assert not found.operator


def test_missing_output_is_a_fault(tmp_path):
    model = exported(forecaster())
    model.graph.output.pop()
    faults = checked(tmp_path, model, forecaster()).faults
    assert any('outputs are "values", "h_n"; expected "values", "h_n", "c_n"' in fault for fault in faults)


def test_tensors_of_other_names_are_paired_in_order(tmp_path):
    renamed = exported(tagger())
    for value, name in zip((*renamed.graph.input, *renamed.graph.output), ("x", "n", "y"), strict=True):
        before, value.name = value.name, name
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "sequence":
                dim.dim_param = "time"
        for node in renamed.graph.node:
            for names in (node.input, node.output):
                for at, each in enumerate(names):
                    if each == before:
                        names[at] = name
    assert not checked(tmp_path, renamed, tagger()).faults


def test_further_output_is_no_fault(tmp_path):
    model = exported(tagger())
    model.graph.output.append(onnx.helper.make_tensor_value_info("linear", onnx.TensorProto.FLOAT, [None] * 3))
    assert not checked(tmp_path, model, tagger()).faults


def test_weights_beside_the_file_are_read(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(exported(tagger()), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert not check_file(path, tagger(), progress=False).faults


MINE = """
import torch
from torch import nn
from rnnserve.export import Floats, Publication
torch.manual_seed(0)
inputs = {'input': Floats('batch', 'sequence', ('features', 2))}
one = Publication(nn.GRU(2, 3, batch_first=True), 'one', inputs, ['output', 'h_n'],
                  sizes={'batch': (1, 4), 'sequence': (1, 8)})
both = [one, Publication(nn.RNN(2, 3, batch_first=True), 'other', inputs, ['output', 'h_n'])]
"""


@pytest.fixture
def target(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def test_check_exits_with_0_when_the_file_is_right_and_with_1_when_it_is_not(target, tmp_path, capsys):
    path = tmp_path / "gru.onnx"
    model = exported(load_publications(f"{target}:one")[0])
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:one"]) == 0
    assert capsys.readouterr().out.startswith(f"{path} computes what the module computes, with differences up to ")
    wrong_reset(model)
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:both", "--model", "one"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("FAULT    node ")
    assert "linear_before_reset=0" in said[0]
    assert said[-2].startswith("the first operator whose result differs is ")
    assert said[-1] == f"{path} does not compute what the module computes"


def test_check_asks_for_one_of_several_models_and_refuses_what_is_not_onnx(target, tmp_path, capsys):
    path = tmp_path / "gru.onnx"
    path.write_bytes(b"nothing")
    assert main(["check", str(path), "--against", f"{target}:both"]) == 1
    assert "has several models; choose one with --model: one, other" in capsys.readouterr().err
    assert main(["check", str(path), "--against", f"{target}:one"]) == 1
    assert "is no ONNX model" in capsys.readouterr().err
