"""Tensors of a file are paired with those of a module: by name, then by order."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.diagnosis.tensor_matching import match_tensors
from rnnserve.export.parity import OnnxRunner

FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


class Doubled(nn.Module):
    def forward(self, x, n, h):
        return x * 2 + n[:, None, None] + h[0][:, None], h * 2


@pytest.fixture(scope="module")
def described():
    inputs = {"x": Floats("batch", "audio", ("features", 2)), "n": Lengths("audio"), "h": Floats(1, "batch", 2)}
    return describe_model(Publication(Doubled(), "doubled", inputs, ["y", "h_n"], states={"h_n": "h"}))


X = ("x", FLOAT, ["batch", "audio", 2])
N = ("n", INT64, ["batch"])
H = ("h", FLOAT, [1, "batch", 2])
Y = ("y", FLOAT, ["batch", "audio", 2])
H_N = ("h_n", FLOAT, [1, "batch", 2])


def file_of(inputs=(X, N, H), outputs=(Y, H_N), *, extra=(), constants=()):
    """A file whose first outputs are computed from its first inputs, whatever their names."""
    x, n, h = (inputs[at][0] if at < len(inputs) else inputs[0][0] for at in range(3))
    nodes = [
        helper.make_node("Add", [x, x], [outputs[0][0]]),
        helper.make_node("Cast", [n], ["unused"], to=FLOAT),
        *([helper.make_node("Add", [h, h], [outputs[1][0]])] if len(outputs) > 1 else []),
        *extra,
    ]
    given, results = ([helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs))
    return helper.make_model(
        helper.make_graph(
            nodes, "file", given, results, [numpy_helper.from_array(*constant) for constant in constants]
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )


def axes(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_a_file_of_the_same_tensors(described):
    matched = match_tensors(file_of(), described)
    assert (matched.inputs, matched.outputs) == (["x", "n", "h"], ["y", "h_n"])
    assert (matched.differences, matched.faults, matched.fixed) == ([], [], {})


def test_other_names_are_paired_in_order(described):
    inputs = [("input", FLOAT, ["rows", None, 2]), N, ("state", FLOAT, [1, "rows", 2])]
    file = file_of(inputs, [("out", FLOAT, ["rows", None, 2]), ("new", FLOAT, [1, "rows", 2])])
    before = file.SerializeToString()
    matched = match_tensors(file, described)
    assert file.SerializeToString() == before
    assert matched.faults == []
    pairs = [("input", "x"), ("state", "h"), ("out", "y"), ("new", "h_n")]
    assert len(matched.differences) == len(pairs) + 3  # three axes have another name, or none
    for line, (own, of_module) in zip(matched.differences, pairs, strict=False):
        assert f'"{own}" is compared with the module\'s "{of_module}", by order' in line
    assert any('axis 0 of input "x" is named "rows"' in line for line in matched.differences)
    assert any('axis 1 of input "x" is not named' in line for line in matched.differences)
    assert [axes(value) for value in matched.model.graph.output] == [["batch", "audio", 2], [1, "batch", 2]]


def test_what_is_left_over_is_paired_by_kind_and_rank(described):
    inputs = [("count", INT32, ["batch"]), ("input", FLOAT, ["batch", "audio", 2]), ("state", FLOAT, [1, "batch", 2])]
    matched = match_tensors(file_of(inputs), described)
    assert matched.inputs == ["x", "n", "h"]
    assert matched.faults == []
    assert 'input "n" is int32; the module takes int64' in matched.differences
    assert [value.name for value in matched.model.graph.input] == ["x", "n", "h"]
    assert [axes(value) for value in matched.model.graph.input] == [["batch", "audio", 2], ["batch"], [1, "batch", 2]]
    assert [value.type.tensor_type.elem_type for value in matched.model.graph.input] == [FLOAT, INT64, FLOAT]


def test_a_cast_input_is_computed_as_before(described):
    matched = match_tensors(file_of([X, ("n", INT32, ["batch"]), H]), described)
    given = {"x": np.ones((3, 4, 2), np.float32), "n": np.array([4, 2, 1]), "h": np.ones((1, 3, 2), np.float32)}
    found = OnnxRunner(matched.model.SerializeToString())(given)
    assert (found["y"] == 2).all()
    assert found["y"].shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("inputs", "phrase", "fixed"),
    [
        ([("x", FLOAT, [3, "audio", 2]), N, H], 'frozen batch: axis 0 of input "x" is always 3', {"batch": 3}),
        ([("x", FLOAT, ["batch", 5, 2]), N, H], 'frozen length: axis 1 of input "x" is always 5', {"audio": 5}),
        ([("x", FLOAT, ["batch", "audio", 7]), N, H], '"features", is 7; in the module it is 2', {}),
        ([("x", FLOAT, ["batch", "audio"]), N, H], 'input "x" has 2 axes; expected 3: (batch, audio, features)', {}),
        ([X, H], 'missing lengths: no input stands for "n"', {}),
        ([X, N], 'missing state: no input stands for "h"', {}),
        ([N, H], 'missing input: nothing stands for the module\'s "x"', {}),
        ([X, N, H, ("more", FLOAT, ["batch"])], 'input "more" has no counterpart in the module', {}),
    ],
)
def test_input_that_does_not_fit_the_module_is_a_fault(described, inputs, phrase, fixed):
    matched = match_tensors(file_of(inputs), described)
    (fault,) = matched.faults
    assert phrase in fault
    assert matched.fixed == fixed
    assert matched.differences == []


def test_an_output_that_is_missing_and_one_that_is_more(described):
    matched = match_tensors(file_of(outputs=[Y]), described)
    assert matched.faults == ['missing output: nothing gives the module\'s "h_n"']
    assert matched.outputs == ["y"]
    more = file_of(outputs=[Y, H_N, ("z", FLOAT, ["batch"])], extra=[helper.make_node("Cast", ["n"], ["z"], to=FLOAT)])
    matched = match_tensors(more, described)
    assert matched.faults == []
    assert matched.differences == ['output "z" has no counterpart in the module, and is not compared']
    assert [value.name for value in matched.model.graph.output] == ["y", "h_n"]


@pytest.mark.parametrize(
    ("output", "phrase"),
    [
        (("y", FLOAT, [3, "audio", 2]), 'axis 0 of output "y" says that it is always 3'),
        (("y", FLOAT, ["batch", 5, 2]), 'axis 1 of output "y" says that it is always 5'),
        (("y", FLOAT, ["rows", None, 2]), ""),
        (("y", FLOAT, [3, 5]), ""),
        (("y", FLOAT, None), ""),
    ],
)
def test_sizes_of_outputs_are_no_faults(described, output, phrase):
    matched = match_tensors(file_of(outputs=[output, H_N]), described)
    assert matched.faults == []
    assert len(matched.differences) == bool(phrase)
    assert phrase in "".join(matched.differences)
    assert axes(matched.model.graph.output[0]) == ["batch", "audio", 2]


def test_a_value_within_the_graph_that_has_a_name_of_the_module(described):
    """It is renamed, so that the name is free."""
    inputs = [("input", FLOAT, X[2]), N, H]
    extra = [helper.make_node("Neg", ["input"], ["x"]), helper.make_node("Abs", ["x"], ["z"])]
    file = file_of(inputs, extra=extra, constants=[(np.zeros(1, np.float32), "w")])
    matched = match_tensors(file, described)
    assert [value.name for value in matched.model.graph.input] == ["x", "n", "h"]
    names = [name for node in matched.model.graph.node for name in node.output]
    assert "x/renamed" in names
    assert "x" not in names
    onnx.checker.check_model(matched.model)
