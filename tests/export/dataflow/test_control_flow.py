"""What branches and scans do to rows, padding and steps: as what they run and what they depend on."""

import pytest
from onnx import TensorProto, helper

from kit.operator_verdicts import WHOLE, described, model_of, verdicts
from kit.proven_graphs import INPUTS
from rnnserve.export.dataflow import Property, Verdict, decide


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


ROWS_ALONE = [("CumSum", "row scalar_0", "out")]
OTHER_ROW = [("Gather", "x scalar_0", "first"), ("Add", "row first", "out")]
MEAN_OF_ROWS = [("ReduceMean", "x zero", "mean"), ("Squeeze", "mean zero", "flat"), ("Add", "row flat", "out")]
ALL_ROWS = [("ReduceMax", "x", "largest"), ("Squeeze", "largest", "flat"), ("Add", "row flat", "out")]


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        (ROWS_ALONE, {}, "+++"),
        (ROWS_ALONE, {"scan_input_directions": [1], "scan_output_directions": [1]}, "+++"),
        (ROWS_ALONE, {"scan_output_directions": [1]}, "?++"),
        (OTHER_ROW, {}, "?++"),
        (MEAN_OF_ROWS, {}, "-++"),
        (ALL_ROWS, {}, "---"),
    ],
)
def test_a_scan_over_rows_without_states(nodes, settings, expected):
    """A row is computed by itself, unless the body reads another from outside."""
    body = helper.make_graph(
        [helper.make_node(operator, given.split(), [made]) for operator, given, made in nodes],
        "body",
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    scan = [("Scan", "x", "y", {"body": body, "num_scan_inputs": 1, **settings})]
    assert verdicts(scan, WHOLE) == expected


def test_a_scan_over_rows_with_a_state_is_not_decided():
    body = helper.make_graph(
        [helper.make_node("Add", ["sum", "row"], ["next"]), helper.make_node("Identity", ["next"], ["out"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("sum", "row")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("next", "out")],
    )
    nodes = [("Gather", "x scalar_0", "first", {}), ("Scan", "first x", "end y", {"body": body, "num_scan_inputs": 1})]
    assert verdicts(nodes, WHOLE)[0] != "+"


def test_what_no_rule_covers_is_named_in_the_body_in_which_it_is():
    body = loop_over(
        [
            helper.make_node("Add", ["state", "step"], ["sum"]),
            helper.make_node("NonZero", ["sum"], ["next"], name="places"),
            helper.make_node("Identity", ["sum"], ["out"]),
        ],
        2,
    )
    nodes = [
        ("ReduceSum", "x one", "begin", {"keepdims": 0}),
        (
            "Scan",
            "begin x",
            "end y",
            {"body": body, "num_scan_inputs": 1, "scan_input_axes": [1], "scan_output_axes": [1]},
        ),
    ]
    found = decide(model_of(nodes), INPUTS, [described(WHOLE)])[Property.ROWS]["y"]
    assert found.verdict is Verdict.NOT_DECIDED
    assert [name for name in found.nodes if "Scan" in name] == []
    assert any(name.startswith('NonZero "') and name.endswith('/places"') for name in found.nodes)
