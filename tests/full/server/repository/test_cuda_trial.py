"""What the trial of CUDA says where CUDA does not work; the messages are those of onnxruntime-gpu 1.31.1."""

import onnx
from onnx import TensorProto, helper

from rnnserve.server.repository import cuda_trial


def test_the_model_is_what_onnx_writes():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 4])
    graph = helper.make_graph([helper.make_node("RNN", ["x", "x", "x"], ["y"], hidden_size=4)], "trial", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString(deterministic=True) == cuda_trial._MODEL
