"""Which states of a Scan are exposed: those that a result depends on which the graph reads."""

import pytest
from onnx import TensorProto, helper

from rnnserve.export.found_states.places import needed_inputs


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


BODY = helper.make_graph(
    [
        helper.make_node("Max", ["largest", "step"], ["largest_next"]),
        helper.make_node("Where", ["is_larger", "count", "place"], ["place_next"]),
        helper.make_node("Greater", ["step", "largest"], ["is_larger"]),
        helper.make_node("Add", ["count", "one"], ["count_next"]),
        helper.make_node("Identity", ["largest_next"], ["values"]),
        helper.make_node("Identity", ["place_next"], ["places"]),
    ],
    "body",
    [value(name) for name in ("largest", "place", "count", "step")],
    [value(name) for name in ("largest_next", "place_next", "count_next", "values", "places")],
)


@pytest.mark.parametrize(
    ("read", "needed"),
    [
        (["values"], [0]),
        (["places"], [0, 1, 2]),
        (["a_last"], [0]),
        (["c_last"], [2]),
        (["b_last", "values"], [0, 1, 2]),
        ([], []),
    ],
)
def test_states_that_no_result_is_made_of_are_not_needed(read, needed):
    node = helper.make_node("Scan", ["a", "b", "c", "x"], ["a_last", "b_last", "c_last", "values", "places"])
    graph = helper.make_graph([node], "graph", [], [value(name) for name in read])
    assert needed_inputs(graph, node, BODY, 3)[0] == needed


def test_a_body_within_the_body_may_read_all():
    """An If reads what stands around it by name."""
    branch = helper.make_graph([helper.make_node("Identity", ["place"], ["y"])], "branch", [], [value("y")])
    choose = helper.make_node("If", ["largest"], ["values"], then_branch=branch, else_branch=branch)
    nodes = [helper.make_node("Identity", [name], [f"{name}_next"]) for name in ("largest", "place")]
    values = [value(name) for name in ("largest", "place", "step")]
    results = [value(name) for name in ("largest_next", "place_next", "values")]
    body = helper.make_graph([*nodes, choose], "body", values, results)
    node = helper.make_node("Scan", ["a", "b", "x"], ["a_last", "b_last", "values"])
    assert needed_inputs(helper.make_graph([node], "graph", [], [value("values")]), node, body, 2)[0] == [0, 1]
