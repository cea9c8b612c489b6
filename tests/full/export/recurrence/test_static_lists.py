"""Lists of tensors in a graph become tensors, with the same values."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.recurrence.exact_passes import simplify_exactly

CONSTANTS = {
    "zero": np.array(0),
    "one": np.array(1),
    "last": np.array(-1),
    "two": np.array(2),
    "sizes": np.array([1, 2, 3]),
    "axes": np.array([0]),
}
GRAPHS = {
    "equal parts": ([("SplitToSequence", "x two", "s", {"axis": 1}), ("SequenceAt", "s last", "y", {})], True),
    "given sizes": ([("SplitToSequence", "x sizes", "s", {"axis": -1}), ("SequenceAt", "s one", "y", {})], True),
    "of an axis of any size": (
        [("SplitToSequence", "x one", "s", {}), ("SequenceAt", "s one", "y", {})],
        True,
    ),
    "from the end of an axis of any size": (
        [("SplitToSequence", "x one", "s", {}), ("SequenceAt", "s last", "y", {})],
        False,
    ),
    "no sizes": ([("SplitToSequence", "x", "s", {"axis": 1, "keepdims": 0}), ("SequenceAt", "s one", "y", {})], False),
    "an index that is computed": (
        [("SplitToSequence", "x two", "s", {"axis": 1}), ("SequenceAt", "s index", "y", {})],
        False,
    ),
    "joined": (
        [
            ("Neg", "x", "n", {}),
            ("SequenceConstruct", "x n x", "s", {}),
            ("ConcatFromSequence", "s", "y", {"axis": 1}),
        ],
        True,
    ),
    "stacked": (
        [
            ("Neg", "x", "n", {}),
            ("SequenceConstruct", "n x", "s", {}),
            ("ConcatFromSequence", "s", "y", {"axis": -1, "new_axis": 1}),
        ],
        True,
    ),
    "divided and stacked": (
        [
            ("SplitToSequence", "x two", "s", {"axis": 1}),
            ("ConcatFromSequence", "s", "y", {"axis": 0, "new_axis": 1}),
        ],
        True,
    ),
    "counted": (
        [
            ("SplitToSequence", "x two", "s", {"axis": 1}),
            ("SequenceLength", "s", "l", {}),
            ("Cast", "l", "f", {"to": TensorProto.FLOAT}),
            ("Mul", "x f", "y", {}),
        ],
        True,
    ),
}


@pytest.mark.parametrize(("nodes", "replaced"), GRAPHS.values(), ids=GRAPHS)
def test_the_same_values(nodes, replaced):
    graph = helper.make_graph(
        [helper.make_node(name, inputs.split(), outputs.split(), **more) for name, inputs, outputs, more in nodes],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6]),
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items()],
    )
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model = ir.from_proto(before)
    simplify_exactly(model)
    after = ir.to_proto(model)
    operators = [node.op_type for node in after.graph.node]
    assert (not any("Sequence" in operator for operator in operators)) is replaced
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32), "index": np.array(1)}
    (expected,), (found,) = (run(each, feeds) for each in (before, after))
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def run(model, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)
