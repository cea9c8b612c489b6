"""Running ONNX models: errors in one line, and no silent change of the provider."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from rnnserve.export.parity.onnx_runner import PROVIDERS, OnnxRunner


@pytest.fixture
def model():
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("z", "y")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_results_by_name_and_inputs_that_it_does_not_have(model):
    runner = OnnxRunner(model.SerializeToString())
    x = np.array([[1, -2], [3, 4]], np.float32)
    found = runner({"x": x.T, "more": x})  # not contiguous
    assert list(found) == ["z", "y"]
    assert (found["y"] == -x.T).all()
    assert (found["z"] == abs(x.T)).all()
    assert (runner.inputs, runner.outputs, runner.provider) == (["x"], ["z", "y"], "CPUExecutionProvider")


def test_errors_are_runtime_errors_of_one_line(model):
    with pytest.raises(RuntimeError, match=r"^onnxruntime does not run: [^\n]*$"):
        OnnxRunner(model.SerializeToString())({"x": np.zeros((2, 3), np.float32)})
    with pytest.raises(RuntimeError, match=r"^onnxruntime does not take the model: [^\n]*$"):
        OnnxRunner(b"nothing")
    model.graph.node[0].op_type = "Unknown"
    with pytest.raises(RuntimeError, match=r"^onnxruntime does not take the model: [^\n]*Unknown[^\n]*$"):
        OnnxRunner(onnx.ModelProto.FromString(model.SerializeToString()).SerializeToString())


def test_cuda_is_asked_for_without_tf32_and_may_not_fall_back_later(monkeypatch):
    asked: list[object] = []

    class Cuda(Session):
        given = ("CUDAExecutionProvider", "CPUExecutionProvider")

        def __init__(self, *_, **how):
            asked.append(how)

        def disable_fallback(self):
            asked.append("no fallback")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Cuda)
    OnnxRunner(b"", providers=PROVIDERS["cuda"])
    assert asked == [{"providers": list(Cuda.given), "provider_options": [{"use_tf32": "0"}, {}]}, "no fallback"]


class Session:
    """Stands for a session on the providers that a test says."""

    given: tuple[str, ...] = ()

    def __init__(self, *_, **__):
        pass

    def get_providers(self):
        return list(self.given)

    def get_inputs(self):
        return []

    get_outputs = get_inputs

    def disable_fallback(self):
        pass


def test_a_provider_that_falls_back_is_an_error(monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(Session, "given", ("CUDAExecutionProvider", "CPUExecutionProvider"))
    assert OnnxRunner(b"", providers=["CUDAExecutionProvider"]).provider == "CUDAExecutionProvider"
    monkeypatch.setattr(Session, "given", ("CPUExecutionProvider",))
    with pytest.raises(
        RuntimeError, match=r"^onnxruntime runs on CPUExecutionProvider where CUDAExecutionProvider was asked for$"
    ):
        OnnxRunner(b"", providers=["CUDAExecutionProvider"])
