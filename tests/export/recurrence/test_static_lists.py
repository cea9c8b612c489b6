"""Lists of tensors are exported as tensors, with the same values; sizes that are fixed, as numbers."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.recurrence.exact_passes import simplify_exactly


class Cells(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell(4, 4)

    def forward(self, x):
        state = self.cell(x[:, 0])
        return state if isinstance(state, torch.Tensor) else state[0]


class Uses(nn.Module):
    def __init__(self, use):
        super().__init__()
        self.use = use

    def forward(self, x):
        return self.use(x)


MODULES = {
    "GRUCell": Cells(nn.GRUCell),
    "LSTMCell": Cells(nn.LSTMCell),
    "chunk": Uses(lambda x: torch.cat(x.chunk(2, -1)[::-1], -1)),
    "chunks of two sizes": Uses(lambda x: torch.cat(x.split(3, -1)[::-1], -1)),
    "split": Uses(lambda x: torch.cat(x.split([1, 3], -1)[::-1], -1)),
    "one part": Uses(lambda x: x.chunk(2, -1)[1]),
    "unbind": Uses(lambda x: torch.stack(x.unbind(-1)[::-1], -1)),
    "twice": Uses(lambda x: torch.cat([part.chunk(2, -1)[1] for part in x.chunk(2, -1)], -1)),
}


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_no_sequence_is_left(module):
    module.eval()
    program = export_onnx(
        module,
        (torch.randn(2, 3, 4),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    operators = Counter(node.op_type for node in program.model_proto.graph.node)
    assert not [operator for operator in operators if "Sequence" in operator]
    x = torch.randn(5, 6, 4)
    found = OnnxRunner(program.model_proto.SerializeToString(), optimized=False)({"x": x.numpy()})["y"]
    expected = module(x).detach().numpy()
    if isinstance(module, Uses):
        assert np.array_equal(found, expected)
    else:
        assert np.allclose(found, expected, atol=1e-6)


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


def test_fixed_sizes_are_numbers_and_others_are_read():
    module = Uses(lambda x: x / (x.std(-1, keepdim=True) + 1e-9) + x.shape[1] + x.reshape(x.shape[0], -1).shape[1])
    program = export_onnx(
        module.eval(),
        (torch.randn(2, 3, 4),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    operators = Counter(node.op_type for node in program.model_proto.graph.node)
    assert not operators["Gather"]
    assert not operators["ReduceProd"]
    x = torch.randn(5, 7, 4)
    found = OnnxRunner(program.model_proto.SerializeToString(), optimized=False)({"x": x.numpy()})["y"]
    assert np.allclose(found, module(x).numpy(), atol=1e-4)
