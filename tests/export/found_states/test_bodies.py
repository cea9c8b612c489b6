"""Recurrence in the bodies of If, Loop and Scan: no state is found there, and the operator and its place are named."""

import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.protos import manifest_pb2
from support.cut_graphs import FEATURES, CutGraph

TURNED, BACK = ("Transpose", "x", "t", {"perm": [1, 0, 2]}), ("Transpose", "s", "y", {"perm": [1, 0, 2]})
TRUE = ("Greater", "scalar_1 scalar_0", "true", {})


def value(name, axes=None, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, axes)


def recurrent(given, result):
    return [
        helper.make_node("GRU", [given, "W", "R"], [f"{result}_all"], hidden_size=FEATURES, name="layer/gru"),
        helper.make_node("Squeeze", [f"{result}_all", "one"], [result]),
    ]


def branch(result):
    return helper.make_graph(recurrent("t", result), result, [], [value(result)])


def loop_over(nodes, carried, results):
    """A body of a Loop: its number, whether to go on, and what is carried."""
    going = [value("number", [], TensorProto.INT64), value("going", [], TensorProto.BOOL)]
    go_on = helper.make_node("Identity", ["going"], ["go_on"])
    return helper.make_graph(
        [*nodes, go_on], "body", [*going, value(carried)], [value("go_on", [], TensorProto.BOOL), *map(value, results)]
    )


STEP = [
    helper.make_node("Gather", ["t", "number"], ["step"], axis=0, name="take"),
    helper.make_node("Add", ["held", "step"], ["next"]),
    helper.make_node("Identity", ["next"], ["each"]),
]
ROW = helper.make_graph(
    [
        helper.make_node("Unsqueeze", ["row", "one"], ["of_one"]),
        *recurrent("of_one", "four"),
        helper.make_node("Squeeze", ["four", "second"], ["result"]),
    ],
    "row",
    [value("row", ["steps", FEATURES])],
    [value("result", ["steps", FEATURES])],
    [numpy_helper.from_array(np.array([1]), "second")],
)
BEGIN = [
    ("Shape", "x", "rows", {"start": 0, "end": 1}),
    ("Concat", "rows three", "shape", {"axis": 0}),
    ("ConstantOfShape", "shape", "begin", {}),
    ("Shape", "x", "count", {"start": 1, "end": 2}),
]
IN_A_BODY = r"layer \(GRU\) is in the body of an If, Loop or Scan, where no states are found"
BODIES = {
    "branches": (
        [
            TURNED,
            TRUE,
            ("If", "true", "s", {"then_branch": branch("a"), "else_branch": branch("b"), "name": "if"}),
            BACK,
        ],
        IN_A_BODY,
    ),
    "layers in a loop": (
        [
            TURNED,
            TRUE,
            (
                "Loop",
                "two true t",
                "s",
                {"body": loop_over(recurrent("held", "next"), "held", ["next"]), "name": "loop"},
            ),
            BACK,
        ],
        IN_A_BODY,
    ),
    "steps in a loop": (
        [
            TURNED,
            TRUE,
            *BEGIN,
            ("Loop", "count true begin", "end s", {"body": loop_over(STEP, "held", ["next", "each"]), "name": "loop"}),
            BACK,
        ],
        'Gather "loop/take" takes steps by their number: cutting a sequence changes',
    ),
    "rows in a scan": ([("Scan", "x", "y", {"body": ROW, "num_scan_inputs": 1, "name": "rows"})], IN_A_BODY),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_in_a_body_is_named_and_nothing_is_said_to_be_proven(name):
    nodes, said = BODIES[name]
    record = CutGraph(nodes).parts().record
    assert record.steps.means != manifest_pb2.MEANS_PROVEN
    assert not record.inputs
    assert re.search(said, record.reason)
