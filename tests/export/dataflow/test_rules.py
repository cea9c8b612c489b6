"""What single operators do to rows, padding and steps: also what looks harmless and is not, and the other way round."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.dataflow import Property, decide, worst
from rnnserve.protos import manifest_pb2
from support.proven_graphs import INPUTS

FAR = 2**31 - 1
BATCH, SEQUENCE = ("batch", -1), ("sequence", -1)
WHOLE, ROW = [BATCH, SEQUENCE, ("features", 3)], [BATCH, ("features", 3)]

CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "minus": np.array([-1]),
    "far": np.array([FAR]),
    "scalar_0": np.array(0),
    "scalar_1": np.array(1),
    "last": np.array(-1),
    "half": np.float32(0.5),
    "nothing": np.float32(0),
    "infinite": np.float32(-np.inf),
    "weights": np.ones((3, 3), np.float32),
    "W": np.ones((1, 3, 3), np.float32),
    "W2": np.ones((2, 3, 3), np.float32),
    "kernel": np.ones((3, 3, 3), np.float32),
    "table": np.ones((40, 3), np.float32),
}


def verdicts(nodes, axes, functions=()):
    graph = helper.make_graph(
        [helper.make_node(op, given.split(), results.split(), **more) for op, given, results, more in nodes],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 3]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], functions=functions)
    output = manifest_pb2.Tensor(name="y")
    for name, size in axes:
        output.axes.add(name=name, size=size)
    found = decide(model, INPUTS, [output])
    return "".join(
        {"proven": "+", "refuted": "-", "not decided": "?"}[worst(found[kind].values()).verdict] for kind in Property
    )


MASK = [
    ("Shape", "x", "steps", {"start": 1, "end": 2}),
    ("Squeeze", "steps", "count", {}),
    ("Range", "scalar_0 count scalar_1", "numbers", {}),
    ("Unsqueeze", "numbers zero", "row", {}),
    ("Unsqueeze", "lengths one", "column", {}),
    ("Less", "row column", "inside", {}),
    ("Unsqueeze", "inside two", "mask", {}),
]
ROWS_NUMBERED = [
    ("Shape", "x", "rows", {"start": 0, "end": 1}),
    ("Squeeze", "rows", "rows_count", {}),
    ("Range", "scalar_0 rows_count scalar_1", "places", {}),
]
LONGEST = [("ReduceMax", "lengths zero", "longest", {"keepdims": 1}), ("Slice", "x zero longest one", "trimmed", {})]


def state_at(lengths):
    return [
        ("Add", "lengths one", "more", {}),
        ("Cast", lengths, "int32", {"to": TensorProto.INT32}),
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("RNN", "t W W bias int32", "r end", {"hidden_size": 3}),
        ("Squeeze", "end zero", "y", {}),
    ]


# For each: rows, padding, causality: + proven, - refuted, ? not decided.
CASES = {
    "elementwise": ("+++", [("Tanh", "x", "y", {})], WHOLE),
    "a linear map": ("+++", [("MatMul", "x weights", "y", {})], WHOLE),
    "a mean over rows": ("-++", [("ReduceMean", "x zero", "m", {"keepdims": 1}), ("Sub", "x m", "y", {})], WHOLE),
    "a rare value in any row": (
        "---",
        [
            ("Equal", "x half", "e", {}),
            ("Cast", "e", "c", {"to": TensorProto.FLOAT}),
            ("ReduceMax", "c", "any", {"keepdims": 0}),
            ("Add", "x any", "y", {}),
        ],
        WHOLE,
    ),
    "a mean over steps": ("+--", [("ReduceMean", "x one", "y", {"keepdims": 0})], ROW),
    "a masked sum": (
        "++-",
        [*MASK, ("Where", "mask x nothing", "m", {}), ("ReduceSum", "m one", "y", {"keepdims": 0})],
        ROW,
    ),
    "a mask that is a step too long": (
        "+--",
        [
            *MASK[:5],
            ("LessOrEqual", "row column", "inside", {}),
            *MASK[6:],
            ("Where", "mask x nothing", "m", {}),
            ("ReduceSum", "m one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "the state at the lengths": ("+++", state_at("lengths"), ROW),
    "the state a step after the lengths": ("+-+", state_at("more"), ROW),
    "as many columns as rows": (
        "?++",
        [*ROWS_NUMBERED[:2], ("OneHot", "lengths rows_count values", "y", {})],
        [BATCH, ("columns", 7)],
    ),
    "a product with the mask": (
        "++-",
        [
            *MASK,
            ("Cast", "mask", "f", {"to": TensorProto.FLOAT}),
            ("Mul", "x f", "m", {}),
            ("ReduceSum", "m one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "a product with the mask of what may be infinite": (
        "+?-",
        [
            *MASK,
            ("Cast", "mask", "f", {"to": TensorProto.FLOAT}),
            ("Log", "x", "l", {}),
            ("Mul", "l f", "m", {}),
            ("ReduceSum", "m one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "the mask the wrong way round": (
        "+--",
        [*MASK, ("Where", "mask nothing x", "m", {}), ("ReduceSum", "m one", "y", {"keepdims": 0})],
        ROW,
    ),
    "masked attention": (
        "++-",
        [
            *MASK,
            ("Where", "mask x infinite", "m", {}),
            ("Softmax", "m", "w", {"axis": 1}),
            ("Mul", "w x", "p", {}),
            ("ReduceSum", "p one", "y", {"keepdims": 0}),
        ],
        ROW,
    ),
    "trimmed to the longest row": ("+++", [*LONGEST, ("Identity", "trimmed", "y", {})], WHOLE),
    "a mean over what is trimmed": ("?--", [*LONGEST, ("ReduceMean", "trimmed one", "y", {"keepdims": 0})], ROW),
    "the last of what is trimmed": ("?-+", [*LONGEST, ("Gather", "trimmed last", "y", {"axis": 1})], ROW),
    "divided by the longest row": (
        "?++",
        [*LONGEST[:1], ("Cast", "longest", "f", {"to": TensorProto.FLOAT}), ("Div", "x f", "y", {})],
        WHOLE,
    ),
    "divided by the number of rows": (
        "-++",
        [*ROWS_NUMBERED[:1], ("Cast", "rows", "f", {"to": TensorProto.FLOAT}), ("Div", "x f", "y", {})],
        WHOLE,
    ),
    "a row's place added": (
        "?++",  # not refuted: rows that are sorted, and put back, are numbered, too; the trial finds it
        [
            *ROWS_NUMBERED,
            ("Cast", "places", "f", {"to": TensorProto.FLOAT}),
            ("Unsqueeze", "f one", "u", {}),
            ("Unsqueeze", "u two", "v", {}),
            ("Add", "x v", "y", {}),
        ],
        WHOLE,
    ),
    "each row read by its place": (
        "+++",
        [
            *ROWS_NUMBERED,
            ("Sub", "lengths one", "ends", {}),
            ("Unsqueeze", "places one", "u", {}),
            ("Unsqueeze", "ends one", "v", {}),
            ("Concat", "u v", "i", {"axis": -1}),
            ("GatherND", "x i", "y", {}),
        ],
        ROW,
    ),
    "an entry of a table for each step": (
        "+++",
        [("Shape", "x", "s", {"start": 1, "end": 2}), ("Slice", "table zero s zero", "t", {}), ("Add", "x t", "y", {})],
        WHOLE,
    ),
    "an entry of a table for each row": (
        "?++",
        [
            ("Shape", "x", "s", {"start": 0, "end": 1}),
            ("Slice", "table zero s zero", "t", {}),
            ("Unsqueeze", "t one", "u", {}),
            ("Add", "x u", "y", {}),
        ],
        WHOLE,
    ),
    "the last step set to zero": (
        "+??",
        [
            ("Slice", "x zero minus one", "s", {}),
            ("ConstantOfShape", "pads", "unused", {}),
            ("Pad", "s tail", "y", {}),
        ],
        WHOLE,
    ),
    "the last step from elsewhere": (
        "+??",
        [
            ("Slice", "x zero minus one", "s", {}),
            *ROWS_NUMBERED[:1],
            ("Concat", "rows one three", "h", {"axis": 0}),
            ("ConstantOfShape", "h", "z", {}),
            ("Concat", "s z", "y", {"axis": 1}),
        ],
        WHOLE,
    ),
    "the first step from elsewhere": (
        "+++",
        [
            ("Slice", "x zero minus one", "s", {}),
            ("Slice", "x zero one one", "f", {}),
            ("Concat", "f s", "y", {"axis": 1}),
        ],
        WHOLE,
    ),
    "the last step written": (
        "+??",
        [
            ("Slice", "x minus far one", "s", {}),
            ("Shape", "s", "h", {}),
            ("Expand", "minus h", "i", {}),
            ("ConstantOfShape", "h", "u", {}),
            ("ScatterElements", "x i u", "y", {"axis": 1}),
        ],
        WHOLE,
    ),
    "the first row written": (
        "?++",
        [
            ("Slice", "x zero one zero", "s", {}),
            ("Shape", "s", "h", {}),
            ("Expand", "zero h", "i", {}),
            ("ConstantOfShape", "h", "u", {}),
            ("ScatterElements", "x i u", "y", {"axis": 0}),
        ],
        WHOLE,
    ),
    "a step later": ("+++", [("Slice", "x zero minus one", "s", {}), ("Pad", "s head", "y", {})], WHOLE),
    "a step earlier": ("+??", [("Slice", "x one far one", "s", {}), ("Pad", "s tail", "y", {})], WHOLE),
    "rows and steps joined and divided": (
        "+++",
        [
            ("Reshape", "x flat", "f", {}),
            ("MatMul", "f weights", "g", {}),
            ("Shape", "x", "h", {}),
            ("Reshape", "g h", "y", {}),
        ],
        WHOLE,
    ),
    "rows and steps exchanged by a reshape": (
        "???",
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
            ("Shape", "x", "h", {}),
            ("Reshape", "t h", "y", {}),
        ],
        WHOLE,
    ),
    "a forward layer": (
        "+++",
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
            ("RNN", "t W W", "r", {"hidden_size": 3}),
            ("Squeeze", "r one", "s", {}),
            ("Transpose", "s", "y", {"perm": [1, 0, 2]}),
        ],
        WHOLE,
    ),
    "a backward layer": (
        "+--",
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
            ("RNN", "t W W", "r", {"hidden_size": 3, "direction": "reverse"}),
            ("Squeeze", "r one", "s", {}),
            ("Transpose", "s", "y", {"perm": [1, 0, 2]}),
        ],
        WHOLE,
    ),
    "a layer that runs over rows": (
        "-++",
        [("RNN", "x W W", "r", {"hidden_size": 3}), ("Squeeze", "r one", "y", {})],
        WHOLE,
    ),
    "a causal convolution": (
        "+++",
        [
            ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
            ("Conv", "t kernel", "c", {"pads": [2, 0], "kernel_shape": [3]}),
            ("Transpose", "c", "y", {"perm": [0, 2, 1]}),
        ],
        WHOLE,
    ),
    "a convolution that reads ahead": (
        "+--",
        [
            ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
            ("Conv", "t kernel", "c", {"pads": [1, 1], "kernel_shape": [3]}),
            ("Transpose", "c", "y", {"perm": [0, 2, 1]}),
        ],
        WHOLE,
    ),
    "parts of the features": (
        "+++",
        [
            ("SplitToSequence", "x scalar_1", "parts", {"axis": 2}),
            ("SequenceAt", "parts scalar_0", "a", {}),
            ("SequenceAt", "parts last", "b", {}),
            ("Concat", "a b a", "y", {"axis": 2}),
        ],
        WHOLE,
    ),
    "parts put together in a way that no rule covers": (
        "???",
        [
            ("SplitToSequence", "x scalar_1", "parts", {"axis": 2}),
            ("ConcatFromSequence", "parts", "y", {"axis": 2}),
        ],
        WHOLE,
    ),
    "sorted rows": (
        "?++",
        [("Shape", "x", "s", {"start": 0, "end": 1}), ("TopK", "x s", "y order", {"axis": 0})],
        WHOLE,
    ),
    "an operator of which nothing is known": ("???", [("NoSuchOperator", "x", "y", {"domain": "else.where"})], WHOLE),
    "a random drop": ("???", [("Dropout", "x half yes", "y", {})], WHOLE),
}
CONSTANTS |= {
    "flat": np.array([-1, 3]),
    "head": np.array([0, 1, 0, 0, 0, 0]),
    "tail": np.array([0, 0, 0, 0, 1, 0]),
    "pads": np.array([1]),
    "yes": np.array(True),
    "bias": np.zeros((1, 6), np.float32),
    "values": np.array([0, 1], np.float32),
}


@pytest.mark.parametrize(("expected", "nodes", "axes"), CASES.values(), ids=CASES)
def test_what_is_decided(expected, nodes, axes):
    assert verdicts(nodes, axes) == expected


def test_a_function_of_the_file_under_an_operators_name_is_not_taken_for_it():
    body = [helper.make_node("ReduceMean", ["x"], ["y"])]
    function = helper.make_function("mine", "Tanh", ["x"], ["y"], body, [helper.make_opsetid("", 20)])
    assert verdicts([("Tanh", "x", "y", {"domain": "mine"})], WHOLE, [function]) == "???"


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


def test_shapes_in_the_file_are_not_believed():
    """Sizes that a file writes beside its values may be wrong: here, that a mean over the batch has a row each."""
    node = helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0)
    graph = helper.make_graph(
        [node, helper.make_node("Add", ["x", "m"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", 3])],
        [numpy_helper.from_array(np.array([0]), "axes")],
        value_info=[helper.make_tensor_value_info("m", TensorProto.FLOAT, ["batch", "sequence", 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    output = manifest_pb2.Tensor(name="y")
    for name, size in WHOLE:
        output.axes.add(name=name, size=size)
    assert worst(decide(model, INPUTS[:1], [output])[Property.ROWS].values()).verdict == "refuted"
