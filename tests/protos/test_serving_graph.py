"""The rule that chooses between the two graphs of a version."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnnserve.protos.artifact import MODEL, SCAN
from rnnserve.protos.serving_graph import LEAST_HIDDEN, choose_file


def recurrent(op_type, hidden):
    return helper.make_node(op_type, ["x", "w", "r"], ["y"], hidden_size=hidden, direction="forward")


def model_of(*nodes):
    data = {"w": np.zeros((1, 4, 4), np.float32)}
    graph = helper.make_graph(nodes, "g", [], [], [onnx.numpy_helper.from_array(v, k) for k, v in data.items()])
    return helper.make_model(graph).SerializeToString()


def in_a_branch(node):
    """A node in the body of an If."""
    body = helper.make_graph([node], "body", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)


@pytest.mark.parametrize(
    ("nodes", "file", "reason"),
    [
        ([recurrent("RNN", LEAST_HIDDEN)], SCAN, "a loop is faster than an RNN operator of hidden size 32"),
        ([recurrent("RNN", LEAST_HIDDEN - 1)], MODEL, "an RNN operator of hidden size 31, below 32"),
        ([recurrent("RNN", 512), recurrent("RNN", 16)], MODEL, "hidden size 16"),
        ([recurrent("RNN", 64), recurrent("GRU", 8)], SCAN, "hidden size 64"),
        ([in_a_branch(recurrent("RNN", 64))], SCAN, "hidden size 64"),
        ([recurrent("LSTM", 64)], MODEL, "model.onnx has no RNN operator"),
    ],
    ids=["at the limit", "below it", "the smallest counts", "other cells do not count", "in a branch", "none"],
)
def test_loop_serves_from_a_minimum_hidden_size_on(nodes, file, reason):
    chosen, why = choose_file(model_of(*nodes))
    assert chosen == file
    assert reason in why
