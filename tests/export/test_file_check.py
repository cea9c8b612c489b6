"""Files of other exporters are compared with their modules, and the first operator that differs is named."""

import re

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

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
from rnnserve.export import Floats, ParityError, Publication, pipeline, publish
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.targets import load_publications
from rnnserve.export.file_check import check_file
from rnnserve.export.model_onnx import to_onnx


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


GRU_OF_TAGGER = r'^the first operator with a different result is GRU "cell" \(checked_files\.py:\d+\)$'
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


def test_correct_exports_have_no_faults(tmp_path):
    found = checked(tmp_path, exported(tagger()), tagger())
    assert not found.faults
    assert 0 < found.largest < 1e-5
    assert not checked(tmp_path, exported(forecaster()), forecaster()).faults


def test_faulty_second_layer_is_named(tmp_path):
    model = exported(forecaster())
    set_attribute([node for node in model.graph.node if node.op_type == "LSTM"][1], "clip", 0.05)
    found = checked(tmp_path, model, forecaster())
    assert any('"values"' in fault for fault in found.faults)
    assert 'LSTM "lstm"' in found.operator


def test_swapped_outputs_are_reported_without_blaming_an_operator(tmp_path):
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
    assert capsys.readouterr().out.startswith(f"{path} computes the same results as the module, with differ")
    wrong_reset(model)
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:both", "--model", "one"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("FAULT    node ")
    assert "linear_before_reset=0" in said[0]
    assert said[-2].startswith("the first operator with a different result is ")
    assert said[-1] == f"{path} does not compute the same results as the module"


def test_check_needs_one_model_and_an_onnx_file(target, tmp_path, capsys):
    path = tmp_path / "gru.onnx"
    path.write_bytes(b"nothing")
    assert main(["check", str(path), "--against", f"{target}:both"]) == 1
    assert "has several models; choose one with --model: one, other" in capsys.readouterr().err
    assert main(["check", str(path), "--against", f"{target}:one"]) == 1
    assert "is not an ONNX model" in capsys.readouterr().err


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.gru = nn.GRU(5, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = torch.tanh(self.first(x))
        y = self.gru(y)[0]
        return torch.softmax(self.head(y) * 3.0, -1)


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    publication = Publication(Layers().eval(), "layers", {"x": Floats("batch", "sequence", 3)}, ["y"])
    model = describe_model(publication)
    return publication, model, to_onnx(model)


def changed(data, shape, *, op_type=None):
    """Double the first constant of a shape, or take another operator."""
    graph = onnx.load_model_from_string(data)
    if op_type is not None:
        (node,) = (node for node in graph.graph.node if node.op_type == op_type)
        node.op_type = "Sigmoid"
    else:
        tensor = next(each for each in graph.graph.initializer if tuple(each.dims) == shape)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2), tensor.name))
    return graph.SerializeToString()


def test_publish_names_the_differing_operator(layers, tmp_path, monkeypatch):
    publication, _, data = layers
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: changed(data, None, op_type="Tanh"))
    with pytest.raises(ParityError, match=r"the first operator with a different result is tanh \(test_file_check"):
        publish(publication, repository=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
