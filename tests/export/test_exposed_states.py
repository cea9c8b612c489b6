"""States that are found in a graph, as inputs and outputs of the version where its publication asks for them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kit.cut_graphs import FEATURES, CutGraph
from rnnserve.export.errors import ExportError
from rnnserve.export.exposed_states import exposed_graph
from rnnserve.export.found_states.finding import find_states
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos.artifact import MODEL

TURNED = ("Transpose", "x", "t", {"perm": [1, 0, 2]})
BACK = ("Transpose", "steps", "y", {"perm": [1, 0, 2]})
CONVOLUTION = [
    ("Transpose", "x", "c", {"perm": [0, 2, 1]}),
    ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}),
]


def exposed(model, data, *, guarded):
    return exposed_graph(model, MODEL, {MODEL: data}, OnnxRunner, guarded=guarded)


def layer(given, **attributes):
    attributes = {"hidden_size": FEATURES, "name": "gru/node"} | attributes
    return [
        ("Cast", "lengths", "ends", {"to": TensorProto.INT32}),
        ("GRU", f"{given} W R - ends", "all last", attributes),
        ("Squeeze", "all one", "steps", {}),
    ]


GRAPHS = {
    "a convolution before a layer": (
        [*CONVOLUTION, ("Transpose", "v", "t", {"perm": [2, 0, 1]}), *layer("t"), BACK],
        ["conv.last", "gru.h"],
    ),
    "a shift by two steps": (
        [
            CONVOLUTION[0],
            ("Pad", "c before_two", "p", {"name": "mix/pad"}),
            ("Slice", "p zero minus_two two", "v", {}),
            ("Transpose", "v", "y", {"perm": [0, 2, 1]}),
        ],
        ["mix.last"],
    ),
}


def graph_of(nodes):
    given = {word for _, names, *_ in nodes for word in names.split()}
    return CutGraph(nodes, inputs=("lengths",) if "lengths" in given else ())


def states_of(description):
    """Final states that are declared, by initial ones."""
    return {tensor.continues_as: tensor.name for tensor in description.outputs if tensor.continues_as}


@pytest.mark.parametrize("name", GRAPHS)
def test_found_states_become_inputs_and_outputs(name):
    """In parts, from states, the graph gives the bits of the one that has no states. Nothing more is found in it."""
    nodes, states = GRAPHS[name]
    before = graph_of(nodes)
    model, data = exposed(before.description, before.model.SerializeToString(), guarded=False)
    assert states_of(model) == {state: f"{state}_n" for state in states}

    x = np.random.default_rng(0).normal(size=(2, 9, FEATURES)).astype(np.float32)

    def run(bytes_, part, held):
        lengths = {"lengths": np.full(2, part.shape[1])} if "lengths" in before.inputs else {}
        return OnnxRunner(bytes_)({"x": part, **lengths, **held})

    sizes = {tensor.name: [2 if axis.size < 0 else axis.size for axis in tensor.axes] for tensor in model.inputs}
    held = {state: np.zeros(sizes[state], np.float32) for state in states}
    parts = []
    for part in np.split(x, [1, 5], axis=1):
        results = run(data, part, held)
        held = {initial: results[final] for initial, final in states_of(model).items()}
        parts.append(results["y"])
    whole = run(before.model.SerializeToString(), x, {})
    assert np.concatenate(parts, 1).tobytes() == whole["y"].tobytes()

    again = find_parts(model, MODEL, {MODEL: data}, OnnxRunner)
    assert (again.data, again.record.reason) == (None, "")


def test_states_that_a_convolution_reads_are_proven_as_found_ones_are():
    """Their padding is joined by one more node, and their last steps are a stretch of the end."""
    before = graph_of(GRAPHS["a shift by two steps"][0])
    model, data = exposed(before.description, before.model.SerializeToString(), guarded=False)
    graph = onnx.load_model_from_string(data)
    for node in graph.graph.node:
        if node.op_type == "Slice" and node.output[0] == "v":
            node.op_type, node.name = "Identity", "joined/identity"
            del node.input[1:]
    weights = onnx.numpy_helper.from_array(np.ones((FEATURES, FEATURES, 3), np.float32), "weights_of_three")
    graph.graph.initializer.append(weights)
    read = next(node for node in graph.graph.node if node.output[0] == "y")
    graph.graph.node.insert(list(graph.graph.node).index(read), helper.make_node("Conv", ["v", weights.name], ["made"]))
    read = next(node for node in graph.graph.node if node.output[0] == "y")
    read.input[0] = "made"
    assert find_states(graph, model.inputs, model.outputs).decision.proven


def test_what_may_not_be_cut_has_no_states_to_expose():
    before = graph_of([TURNED, *layer("t", direction="reverse"), BACK])
    with pytest.raises(ExportError, match=r"expose_states: .* gru \(backward\) reads the sequence from its end"):
        exposed(before.description, before.model.SerializeToString(), guarded=False)


def test_without_anything_to_find_all_stays_as_it_was():
    before = graph_of([("MatMul", "x weights", "y", {})])
    model, data = before.description, before.model.SerializeToString()
    assert exposed(model, data, guarded=True) == (model, data)
