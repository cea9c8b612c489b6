"""Verdicts on small graphs: rows, padding and causality, each proven, refuted or not decided."""

import pytest
from onnx import TensorProto, helper

from kit.graph_text import INPUTS, described, graph_of
from kit.verdict_table import GRAPHS, VERDICTS
from rnnserve.export.analysis import Property, Verdict, decide, worst

WHOLE = described("y", ("batch", "sequence", 3))


def verdicts(model, output=WHOLE):
    return "".join(VERDICTS[worst(found.values()).verdict] for found in decide(model, INPUTS, [output]).values())


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_small_graph_has_the_verdicts_and_the_reason_of_the_table(graph):
    decided = graph.decided
    assert list(decided) == list(Property)
    assert "".join(VERDICTS[each.verdict] for each in decided.values()) == graph.verdicts
    first = next((each for each in decided.values() if not each.proven), None)
    assert (first is None) == (graph.reason == "")
    if first is not None:
        assert any(graph.reason in said for said in (*first.reasons, *first.nodes)), first


REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@pytest.mark.parametrize(("axis", "expected"), [("_2", "+++"), ("_1", "+--"), ("_0", "-++")])
def test_reduction_mixes_only_the_reduced_axis(axis, expected):
    found = {name: verdicts(graph_of(f"m = Reduce{name} (x, {axis})  y = Sub (x, m)")) for name in REDUCTIONS}
    assert found == dict.fromkeys(REDUCTIONS, expected)


@pytest.mark.parametrize(("axis", "expected"), [(" <axis = 2>", "+++"), ("", "+--"), (" <axis = 0>", "---")])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_softmax_reduces_its_axis_and_all_later_ones_when_opset_is_below_13(operator, axis, expected):
    assert verdicts(graph_of(f"y = {operator}{axis} (x)", opset=11)) == expected


def test_operator_inside_a_body_is_named_with_the_path_to_it():
    graph = next(graph for graph in GRAPHS if "that no rule covers" in graph.name)
    rows = graph.decided[Property.ROWS]
    assert rows.verdict is Verdict.NOT_DECIDED
    assert any(name.startswith('NonZero "') and name.endswith('/places"') for name in rows.nodes)
    assert not any("Scan" in name for name in rows.nodes)


def test_function_named_like_an_operator_is_not_decided():
    model = graph_of("y = elsewhere.Tanh (x)")
    mean = helper.make_node("ReduceMean", ["x"], ["y"])
    function = helper.make_function("elsewhere", "Tanh", ["x"], ["y"], [mean], [helper.make_opsetid("", 20)])
    model.functions.append(function)
    assert verdicts(model) == "???"


def test_shapes_declared_by_the_file_are_ignored():
    """A file may declare that a mean over the batch has a row for each request."""
    model = graph_of("m = ReduceMean <keepdims = 0> (x, _0)  y = Add (x, m)")
    model.graph.value_info.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, ["batch", "sequence", 3]))
    assert verdicts(model)[0] == "-"
