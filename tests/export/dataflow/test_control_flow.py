"""What branches and scans do to rows, padding and steps: as what they run and what they depend on."""

import pytest
from onnx import TensorProto, helper

from support.operator_verdicts import WHOLE, verdicts


def branch(operator, name):
    node = helper.make_node(operator, ["x"], [name])
    return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])


@pytest.mark.parametrize(("condition", "expected"), [("yes", "+++"), ("any", "---"), ("no", "-??")])
def test_a_branch(condition, expected):
    """The condition depends on all rows, or one branch does, which a constant condition leaves out or takes."""
    nodes = [
        ("ReduceMax", "x", "largest", {"keepdims": 0}),
        ("Greater", "largest nothing", "any", {}),
        ("Not", "yes", "no", {}),
        (
            "If",
            condition,
            "y",
            {
                "then_branch": branch("Tanh", "then"),
                "else_branch": branch("Tanh" if condition == "any" else "Mean", "other"),
            },
        ),
    ]
    if condition == "no":
        mean = helper.make_node("ReduceMean", ["x", "zero"], ["m"], keepdims=1)
        taken = helper.make_node("Sub", ["x", "m"], ["other"])
        value = helper.make_tensor_value_info("other", TensorProto.FLOAT, None)
        nodes[-1][3]["else_branch"] = helper.make_graph([mean, taken], "other", [], [value])
        expected = "-++"
    assert verdicts(nodes, WHOLE) == expected


def loop_over(body_nodes, inputs):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("state", "step")]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("next", "out")]
    return helper.make_graph(body_nodes, "body", values[:inputs], results)


@pytest.mark.parametrize(
    ("backward", "mix", "expected"), [(0, "Identity", "+++"), (1, "Identity", "+--"), (0, "ReduceMax", "-++")]
)
def test_a_scan_over_steps(backward, mix, expected):
    over_rows = helper.make_node("ReduceMax", ["sum", "zero"], ["mixed"], keepdims=1)
    body = loop_over(
        [
            helper.make_node("Add", ["state", "step"], ["sum"]),
            over_rows if mix == "ReduceMax" else helper.make_node(mix, ["sum"], ["mixed"]),
            helper.make_node("Add", ["sum", "mixed"], ["next"]),
            helper.make_node("Identity", ["next"], ["out"]),
        ],
        2,
    )
    settings = {
        "num_scan_inputs": 1,
        "scan_input_axes": [1],
        "scan_output_axes": [1],
        "scan_input_directions": [backward],
        "scan_output_directions": [backward],
    }
    nodes = [("Gather", "x scalar_0", "first", {"axis": 1}), ("Scan", "first x", "end y", {"body": body, **settings})]
    assert verdicts(nodes, WHOLE) == expected
