"""What a graph carries from step to step, found though it is not declared; and what stands in the way of a cut."""

import onnx
import pytest
from onnx import TensorProto, helper

from kit.cut_graphs import FEATURES, CutGraph
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, PARTS, SCAN

TURNED = ("Transpose", "x", "t", {"perm": [1, 0, 2]})


def layer(given, result, operator="GRU", more="", final="-", **attributes):
    """A layer over steps: (sequence, batch, 3) -> (sequence, batch, 3)."""
    weights = {"LSTM": "W4 R4", "GRU": "W R", "RNN": "W1 R1"}[operator]
    attributes = {"hidden_size": FEATURES, "name": f"{result}/node"} | attributes
    return [
        (operator, f"{given} {weights} {more}".strip(), f"{result}_all {final}", attributes),
        ("Squeeze", f"{result}_all one", result, {}),
    ]


def turned_back(given):
    return ("Transpose", given, "y", {"perm": [1, 0, 2]})


CHANNELS = ("Transpose", "x", "c", {"perm": [0, 2, 1]})
CONVOLVED = ("Transpose", "v", "y", {"perm": [0, 2, 1]})


def sums(body_input=""):
    """The body of a scan: the next state is the state and half of the step."""
    nodes = [
        helper.make_node("Add", ["state", body_input or "step"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next"]),
        helper.make_node("Identity", ["next"], ["out"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("state", "step")]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("next", "out")]
    return helper.make_graph(nodes, "body", values, results)


def scan(backward=0, body_input=""):
    settings = {"num_scan_inputs": 1, "scan_input_axes": [1], "scan_output_axes": [1]}
    directions = {"scan_input_directions": [backward], "scan_output_directions": [backward]}
    return [
        ("Shape", "x", "rows", {"start": 0, "end": 1}),
        ("Concat", "rows three", "shape", {"axis": 0}),
        ("ConstantOfShape", "shape", "begin", {}),
        ("Scan", "begin x", "end y", {"body": sums(body_input), **settings, **directions, "name": "cell/scan_0"}),
    ]


FOUND = {
    "a layer": (CutGraph([TURNED, *layer("t", "gru"), turned_back("gru")]), ["gru.h"]),
    "stacked layers": (
        CutGraph([TURNED, *layer("t", "lstm", "LSTM"), *layer("lstm", "gru"), turned_back("gru")]),
        ["lstm.h", "lstm.c", "gru.h"],
    ),
    "two layers of one module": (
        CutGraph([TURNED, *layer("t", "a", name="rnn/0"), *layer("a", "b", name="rnn/1"), turned_back("b")]),
        ["rnn.0.h", "rnn.1.h"],
    ),
    "a head that reads the last state only": (
        CutGraph([TURNED, *layer("t", "gru", final="h"), ("Squeeze", "h zero", "y", {})], has_steps=False),
        ["gru.h"],
    ),
    "a head that reads the last step": (
        CutGraph([TURNED, *layer("t", "gru"), ("Gather", "gru last", "y", {"axis": 0})], has_steps=False),
        ["gru.h"],
    ),
    "a learned beginning": (
        CutGraph(
            [
                TURNED,
                ("Shape", "x", "rows", {"start": 0, "end": 1}),
                ("Concat", "one rows three", "shape", {"axis": 0}),
                ("Expand", "learned shape", "begin", {}),
                *layer("t", "gru", more="- - begin"),
                turned_back("gru"),
            ]
        ),
        ["gru.h"],
    ),
    "a causal convolution": (
        CutGraph([CHANNELS, ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}), CONVOLVED]),
        ["conv.last"],
    ),
    "a convolution with a normalisation that onnxruntime folds into it": (
        CutGraph(
            [
                CHANNELS,
                ("Conv", "c kernel bias", "w", {"pads": [2, 0], "name": "conv/node"}),
                ("BatchNormalization", "w bias bias bias scale", "v", {}),
                CONVOLVED,
            ]
        ),
        ["conv.last"],
    ),
    "a mean of the last three steps": (
        CutGraph(
            [
                CHANNELS,
                ("Pad", "c before_two", "p", {}),
                ("AveragePool", "p", "v", {"kernel_shape": [3], "name": "pool/node"}),
                CONVOLVED,
            ]
        ),
        ["pad.last"],
    ),
    "padding before a convolution": (
        CutGraph(
            [
                CHANNELS,
                ("Pad", "c before_two", "p", {}),
                ("Conv", "p kernel bias", "v", {"name": "conv/node"}),
                CONVOLVED,
            ]
        ),
        ["conv.last"],
    ),
    "a convolution padded on both sides, its end cut off": (
        CutGraph(
            [
                CHANNELS,
                ("Conv", "c kernel bias", "w", {"pads": [2, 2], "name": "conv/node"}),
                ("Slice", "w zero minus_two two", "v", {}),
                CONVOLVED,
            ]
        ),
        ["conv.last"],
    ),
    "a step back": (
        CutGraph(
            [
                ("Slice", "x zero one one", "first", {}),
                ("Sub", "first first", "nothing", {}),
                ("Shape", "first", "shape", {}),
                ("ConstantOfShape", "shape", "begin", {}),
                ("Slice", "x zero minus one", "cut", {}),
                ("Concat", "begin cut", "y", {"axis": 1}),
            ]
        ),
        ["concat.last"],
    ),
    "a running sum": (CutGraph([("CumSum", "x scalar_1", "y", {})]), ["cumsum.sum"]),
    "a running sum of the steps before": (
        CutGraph([("CumSum", "x scalar_1", "y", {"exclusive": 1})]),
        ["cumsum.sum"],
    ),
    "a scan": (CutGraph(scan()), ["cell.state"]),
    "a layer with lengths": (
        CutGraph(
            [
                TURNED,
                ("Cast", "lengths", "ends", {"to": TensorProto.INT32}),
                *layer("t", "gru", more="- ends"),
                turned_back("gru"),
            ],
            inputs=("lengths",),
        ),
        ["gru.h"],
    ),
    "a causal convolution with lengths": (
        CutGraph(
            [CHANNELS, ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}), CONVOLVED],
            inputs=("lengths",),
        ),
        ["conv.last"],
    ),
    "a convolution before a layer whose state is declared": (
        CutGraph(
            [
                CHANNELS,
                ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}),
                ("Transpose", "v", "t", {"perm": [2, 0, 1]}),
                *layer("t", "gru", more="- - h_0", final="h_n"),
                turned_back("gru"),
            ],
            inputs=("h_0",),
            states={"h_n": "h_0"},
        ),
        ["conv.last"],
    ),
}


@pytest.mark.parametrize(("graph", "names"), FOUND.values(), ids=FOUND)
def test_what_a_graph_carries_is_found_and_its_parts_have_the_bits_of_the_whole(graph, names):
    found = graph.parts()
    assert found.record.reason == ""
    assert found.record.steps.means == manifest_pb2.MEANS_PROVEN
    assert [tensor.name for tensor in found.record.inputs] == names
    assert [tensor.continues_as for tensor in found.record.outputs] == names
    assert found.data is not None


IN_THE_WAY = {
    "a backward layer": (
        CutGraph(
            [
                TURNED,
                ("GRU", "t W_both W_both", "r", {"hidden_size": 3, "direction": "bidirectional", "name": "gru/node"}),
                ("ReduceSum", "r one", "s", {"keepdims": 0}),
                turned_back("s"),
            ]
        ),
        "gru (bidirectional) reads the sequence from its end",
    ),
    "a mean over time": (
        CutGraph([("ReduceMean", "x one", "y", {"keepdims": 0})], has_steps=False),
        "mean over the axis sequence",
    ),
    "a convolution that is centred": (
        CutGraph([CHANNELS, ("Conv", "c kernel bias", "v", {"pads": [1, 1], "name": "conv/node"}), CONVOLVED]),
        "conv (Conv) reads 1 step ahead",
    ),
    "pooling over time": (
        CutGraph(
            [CHANNELS, ("AveragePool", "c", "v", {"pads": [1, 1], "kernel_shape": [3], "name": "pool/node"}), CONVOLVED]
        ),
        "pool (AveragePool) reads 1 step ahead",
    ),
    "attention": (
        CutGraph(
            [
                ("Transpose", "x", "k", {"perm": [0, 2, 1]}),
                ("MatMul", "x k", "scores", {}),
                ("Softmax", "scores", "w", {"axis": -1}),
                ("MatMul", "w x", "y", {}),
            ]
        ),
        'Softmax "w" weighs other steps, as attention does: cutting a sequence changes its output "y"',
    ),
    "the first step": (
        CutGraph([("Slice", "x zero one one", "first", {}), ("Add", "x first", "y", {})]),
        'cutting a sequence changes its output "y"',
    ),
    "a scan that runs backward": (CutGraph(scan(backward=1)), "cell reads the sequence from its end"),
    "a sum that runs backward": (
        CutGraph([("CumSum", "x scalar_1", "y", {"reverse": 1})]),
        "sums backwards over all steps",
    ),
    "a beginning that is computed of the sequence": (
        CutGraph(
            [
                TURNED,
                ("ReduceMax", "x one", "top", {"keepdims": 0}),
                ("Unsqueeze", "top zero", "begin", {}),
                *layer("t", "gru", more="- - begin"),
                turned_back("gru"),
            ]
        ),
        "largest over the axis sequence",
    ),
    "a beginning that is computed of the first step": (
        CutGraph(
            [
                TURNED,
                ("Gather", "t scalar_0", "top", {"axis": 0}),
                ("Unsqueeze", "top zero", "begin", {}),
                *layer("t", "gru", more="- - begin"),
                turned_back("gru"),
            ]
        ),
        'gru: it begins with what is computed of "x"',
    ),
    "a layer that runs backward, before what no rule covers": (
        CutGraph(
            [
                TURNED,
                *layer("t", "gru", direction="reverse"),
                ("MeanVarianceNormalization", "gru", "s", {"axes": [2]}),
                turned_back("s"),
            ]
        ),
        "gru: it reads the sequence from its end",
    ),
    "a layer that goes on after the lengths": (
        CutGraph([TURNED, *layer("t", "gru"), turned_back("gru")], inputs=("lengths",)),
        "gru: it runs past the lengths of rows",
    ),
}


@pytest.mark.parametrize(("graph", "reason"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_stands_in_the_way_of_a_cut_is_named(graph, reason):
    found = graph.parts()
    assert reason in found.record.reason
    assert found.data is None
    assert not found.record.inputs


def test_states_that_are_all_declared_need_no_further_file():
    graph = CutGraph(
        [TURNED, *layer("t", "gru", more="- - h_0", final="h_n"), turned_back("gru")],
        inputs=("h_0",),
        states={"h_n": "h_0"},
    )
    found = graph.parts()
    assert found.data is None
    assert found.record.reason == ""
    assert found.record.steps.means == manifest_pb2.MEANS_PROVEN


def test_a_learned_beginning_is_recorded():
    graph, _ = FOUND["a learned beginning"]
    found = graph.parts()
    (tensor,) = found.record.inputs
    assert tensor.default == manifest_pb2.DEFAULT_RECORDED
    assert found.defaults["gru.h"].shape == (1, 1, FEATURES)
    assert found.defaults["gru.h"].any()


def test_a_trial_finds_what_a_walk_would_have_missed():
    """A graph of parts that computes something else: as if a rule were wrong."""
    graph, _ = FOUND["a layer"]

    def load(data):
        runner = OnnxRunner(data)
        return lambda inputs: {name: array + (inputs["x"].shape[1] == 1) for name, array in runner(inputs).items()}

    found = find_parts(graph.description, MODEL, {MODEL: graph.model.SerializeToString()}, load)
    assert 'cutting a sequence changes its output "y" by ' in found.record.reason
    assert found.data is None


def test_a_loop_that_was_lowered_has_the_states_of_its_operator():
    """It runs past the end of short rows, so that its own state there is not known."""
    nodes = [
        TURNED,
        ("Cast", "lengths", "sizes", {"to": TensorProto.INT32}),
        *layer("t", "rnn", "RNN", more="- sizes", final="h"),
        ("Squeeze", "h zero", "y", {}),
    ]
    graph = CutGraph(nodes, has_steps=False, inputs=("lengths",))
    native = graph.model.SerializeToString()
    files = {MODEL: native, SCAN: lower_rnn(native)}
    found = find_parts(graph.description, SCAN, files, OnnxRunner)
    assert found.record.reason == ""
    assert (found.record.file, found.record.made_of) == (PARTS, SCAN)
    assert [tensor.name for tensor in found.record.inputs] == ["rnn.h"]
    assert {node.op_type for node in onnx.load_model_from_string(found.data).graph.node} >= {"Scan"}
    del files[SCAN]
    assert find_parts(graph.description, MODEL, files, OnnxRunner).record.made_of == MODEL
