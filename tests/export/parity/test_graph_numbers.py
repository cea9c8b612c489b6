"""Whether a graph computes with the sizes of its inputs; then parity also draws uneven lengths."""

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from rnnserve.export.parity.batches import computes_with_sizes

SHAPE = helper.make_node("Shape", ["x"], ["size"])
STEPS = helper.make_node("Gather", ["size", "one"], ["steps"])
FLOAT = helper.make_node("Cast", ["size"], ["y"], to=TensorProto.FLOAT)


def within_branch(*nodes):
    body = helper.make_graph(nodes, "body", [], [])
    return helper.make_node("If", ["condition"], ["y"], then_branch=body, else_branch=body)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([SHAPE, helper.make_node("Div", ["size", "two"], ["y"])], True),
        ([SHAPE, helper.make_node("Mod", ["size", "three"], ["y"])], True),
        ([SHAPE, FLOAT], True),
        ([SHAPE, STEPS, helper.make_node("Div", ["steps", "two"], ["y"])], True),
        ([helper.make_node("Resize", ["x", "", "", "sizes"], ["y"])], True),
        ([within_branch(SHAPE, FLOAT)], True),
        ([SHAPE, helper.make_node("Sub", ["size", "one"], ["y"])], False),
        ([SHAPE, helper.make_node("Range", ["zero", "size", "one"], ["y"])], False),
        ([helper.make_node("Div", ["x", "two"], ["y"])], False),
    ],
    ids=["half", "remainder", "mean", "half of steps", "resize", "in a branch", "one less", "places", "values"],
)
def test_arithmetic_with_sizes_is_found_in_graph(nodes, expected):
    model = helper.make_model(helper.make_graph(nodes, "graph", [], []))
    assert computes_with_sizes(ir.from_proto(model)) is expected
