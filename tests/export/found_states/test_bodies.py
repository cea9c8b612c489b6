"""Recurrence in the bodies of If, Loop and Scan: states are found, or the operator and its place are named."""

import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.cut_graphs import FEATURES, CutGraph
from rnnserve.protos import manifest_pb2

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


def nested(result):
    inner = {"then_branch": branch(f"{result}_1"), "else_branch": branch(f"{result}_2")}
    return helper.make_graph(
        [helper.make_node("If", ["true"], [result], name="inner", **inner)], result, [], [value(result)]
    )


def constant(name, number):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(number)))


GOES_ON = [helper.make_node("Identity", ["going"], ["go_on"])]
SMALL = [
    helper.make_node("ReduceMax", ["next"], ["largest"], keepdims=0),
    constant("most", np.float32(1e9)),
    helper.make_node("Less", ["largest", "most"], ["go_on"]),
]


def loop_over(nodes, carried, results, go_on=GOES_ON):
    """A body of a Loop: its number, whether to go on, and what is carried."""
    going = [value("number", [], TensorProto.INT64), value("going", [], TensorProto.BOOL)]
    return helper.make_graph(
        [*nodes, *go_on], "body", [*going, value(carried)], [value("go_on", [], TensorProto.BOOL), *map(value, results)]
    )


def step(number="number", of="t"):
    """Nodes for a step: the state and the step of x are added up."""
    return [
        helper.make_node("Gather", [of, number], ["step"], axis=0, name="loop/take"),
        helper.make_node("Add", ["held", "step"], ["next"]),
        helper.make_node("Tanh", ["next"], ["each"]),
    ]


CAST = helper.make_node("Cast", ["number"], ["cast"], to=TensorProto.INT64)
COUNTED = [
    helper.make_node("Cast", ["number"], ["counted"], to=TensorProto.FLOAT, name="counted"),
    helper.make_node("Add", ["each", "counted"], ["more"]),
]
GROWING = [
    helper.make_node("Gather", ["t", "number"], ["step"], axis=0),
    constant("front", [0]),
    helper.make_node("Unsqueeze", ["step", "front"], ["new"]),
    helper.make_node("Concat", ["held", "new"], ["next"], axis=0),
    helper.make_node("ReduceMean", ["next", "front"], ["each"], keepdims=0),
]


def row(*, begins=False, passes=False):
    """The body of a Scan over rows: a layer over the steps of one row, which may begin with its first step."""
    first = [
        helper.make_node("Gather", ["of_one", "first"], ["one_step"], axis=0),
        helper.make_node("Unsqueeze", ["one_step", "front"], ["begin_row"]),
    ]
    state = [value("kept", [FEATURES])] if passes else []
    kept = [helper.make_node("Identity", ["kept"], ["still"])] if passes else []
    layer = recurrent("of_one", "four")
    if begins:
        layer[0].input.extend(["", "", "begin_row"])
    return helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["row", "one"], ["of_one"]),
            *(first if begins else []),
            *layer,
            helper.make_node("Squeeze", ["four", "second"], ["result"]),
            *kept,
        ],
        "row",
        [*state, value("row", ["steps", FEATURES])],
        [*([value("still", [FEATURES])] if passes else []), value("result", ["steps", FEATURES])],
        [
            numpy_helper.from_array(np.array([1]), "second"),
            numpy_helper.from_array(np.array(0), "first"),
            numpy_helper.from_array(np.array([0]), "front"),
        ],
    )


BEGIN = [
    ("Shape", "x", "rows", {"start": 0, "end": 1}),
    ("Concat", "rows three", "shape", {"axis": 0}),
    ("ConstantOfShape", "shape", "begin", {}),
    ("Shape", "x", "count", {"start": 1, "end": 2}),
]


def over_steps(nodes, results="next each", given="count true begin", go_on=GOES_ON, before=()):
    body = loop_over(nodes, "held", results.split(), go_on)
    return [TURNED, TRUE, *BEGIN, *before, ("Loop", given, "end s", {"body": body, "name": "cell/loop"}), BACK]


EMPTY = ("SequenceEmpty", "", "nothing", {"dtype": TensorProto.FLOAT})
LISTING = helper.make_graph(  # as TorchScript writes outputs.append(…) and torch.stack(outputs, 1)
    [*step(), helper.make_node("SequenceInsert", ["list", "each"], ["longer"]), *GOES_ON],
    "body",
    [
        value("number", [], TensorProto.INT64),
        value("going", [], TensorProto.BOOL),
        value("held"),
        helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None),
    ],
    [
        value("go_on", [], TensorProto.BOOL),
        value("next"),
        helper.make_tensor_sequence_value_info("longer", TensorProto.FLOAT, None),
    ],
)
LISTED = [
    *(TURNED, TRUE, *BEGIN, EMPTY),
    ("Loop", "count true begin nothing", "end list_of_all", {"body": LISTING, "name": "cell/loop"}),
    ("ConcatFromSequence", "list_of_all", "y", {"axis": 1, "new_axis": 1}),
]
CARRIED = {
    "a branch that is decided": (
        [
            TURNED,
            TRUE,
            ("If", "true", "s", {"then_branch": branch("a"), "else_branch": branch("b"), "name": "if"}),
            BACK,
        ],
        "layer.h",
    ),
    "a branch within one": (
        [
            TURNED,
            TRUE,
            ("If", "true", "s", {"then_branch": nested("a"), "else_branch": branch("b"), "name": "if"}),
            BACK,
        ],
        "layer.h",
    ),
    "a loop over steps": (over_steps(step()), "cell.state"),
    "a loop that is told to go on": (
        over_steps(step(), given="count - begin", go_on=[constant("go_on", True)]),
        "cell.state",
    ),
    "a number that is passed on": (over_steps([CAST, *step("cast")]), "cell.state"),
    "a condition from outside": (
        over_steps(step(), go_on=[helper.make_node("Identity", ["true"], ["go_on"])]),
        "cell.state",
    ),
    "what is the same at each step": (
        over_steps([helper.make_node("Neg", ["t"], ["minus_t"]), *step(of="minus_t")]),
        "cell.state",
    ),
    "a list that is stacked": (LISTED, "cell.state"),
    "rows in turn": ([("Scan", "x", "y", {"body": row(), "num_scan_inputs": 1, "name": "rows"})], "layer.h"),
    "rows in turn, with something that is passed on": (
        [("Scan", "bias x", "same y", {"body": row(passes=True), "num_scan_inputs": 1, "name": "rows"})],
        "layer.h",
    ),
}


@pytest.mark.parametrize("name", CARRIED)
def test_states_of_what_is_decided_and_of_loops_over_steps_are_found(name):
    nodes, state = CARRIED[name]
    graph = CutGraph(nodes)
    before = graph.model.SerializeToString()
    parts = graph.parts()
    assert parts.record.reason == ""
    assert [tensor.name for tensor in parts.record.inputs] == [state]
    assert parts.record.steps.means == manifest_pb2.MEANS_PROVEN
    assert graph.model.SerializeToString() == before


UNKNOWN = [("ReduceMax", "weights", "largest", {"keepdims": 0}), ("IsNaN", "largest", "unknown", {})]
BODIES = {
    "branches": (
        [
            TURNED,
            *UNKNOWN,
            ("If", "unknown", "s", {"then_branch": branch("a"), "else_branch": branch("b"), "name": "if"}),
            BACK,
        ],
        r'layer \(GRU\) is in a branch of If "if", which is chosen as a request runs',
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
        r'layer \(GRU\) is in the body of Loop "loop", which runs over something else than steps',
    ),
    "rows that begin with their first steps": (
        [("Scan", "x", "y", {"body": row(begins=True), "num_scan_inputs": 1, "name": "rows"})],
        'rows: layer: it begins with what is computed of "row", which a later part would have to send again',
    ),
    "a loop that ends early": (
        over_steps(step(), go_on=SMALL),
        "cell: its Loop may end before the last step, by a condition",
    ),
    "a loop that counts": (
        over_steps([*step(), *COUNTED], "next more"),
        'cell: its Loop counts its steps from the first one of a request, in Add "more"',
    ),
    "a state that grows": (
        over_steps(GROWING, given="count true first", before=[("Unsqueeze", "begin zero", "first", {})]),
        'cell: its Loop carries "held", which grows by each step: a state keeps its size',
    ),
    "a list that is read as it grows": (
        [*LISTED[:-1], ("SequenceAt", "list_of_all scalar_0", "first", {}), ("Unsqueeze", "first one", "y", {})],
        'cell: its Loop carries "list", which grows by each step: a state keeps its size',
    ),
    "a loop over fewer steps": (
        over_steps(step(), given="fewer true begin", before=[("Sub", "count one", "fewer", {})]),
        "cell: its Loop runs another number of times than there are steps",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_in_a_body_is_named_and_nothing_is_said_to_be_proven(name):
    nodes, said = BODIES[name]
    record = CutGraph(nodes).parts().record
    assert record.steps.means != manifest_pb2.MEANS_PROVEN
    assert not record.inputs
    assert re.search(said, record.reason)
