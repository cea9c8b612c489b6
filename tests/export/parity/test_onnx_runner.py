"""Running ONNX models: errors in one line, no silent change of the provider, and results that stand for a module's."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from rnnserve.export.onnx_runner import PROVIDERS, OnnxRunner
from rnnserve.export.parity.reference import OnnxTruth


@pytest.fixture
def model():
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("z", "y")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_results_come_by_name_and_unknown_inputs_are_ignored(model):
    runner = OnnxRunner(model.SerializeToString())
    x = np.array([[1, -2], [3, 4]], np.float32)
    found = runner({"x": x.T, "more": x})  # not contiguous
    assert list(found) == ["z", "y"]
    assert (found["y"] == -x.T).all()
    assert (found["z"] == abs(x.T)).all()
    assert (runner.inputs, runner.outputs, runner.provider) == (["x"], ["z", "y"], "CPUExecutionProvider")


def test_errors_of_onnxruntime_are_one_line(model):
    with pytest.raises(RuntimeError, match=r"^onnxruntime cannot run the model: [^\n]*$"):
        OnnxRunner(model.SerializeToString())({"x": np.zeros((2, 3), np.float32)})
    model.graph.node[0].op_type = "Unknown"
    for data in (b"nothing", model.SerializeToString()):
        with pytest.raises(RuntimeError, match=r"^onnxruntime cannot load the model: [^\n]*$"):
            OnnxRunner(data)


class Session:
    """A session on the providers in `given`."""

    given: tuple[str, ...] = ("CUDAExecutionProvider", "CPUExecutionProvider")
    asked: list[object] = []  # noqa: RUF012 - of all sessions of a test

    def __init__(self, *_, **how):
        self.asked.append(how)

    def get_providers(self):
        return list(self.given)

    def get_inputs(self):
        return []

    get_outputs = get_inputs

    def disable_fallback(self):
        self.asked.append("no fallback")


def test_cuda_runs_without_tf32_and_never_falls_back(monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    Session.asked.clear()
    assert OnnxRunner(b"", providers=PROVIDERS["cuda"]).provider == "CUDAExecutionProvider"
    options = {"providers": list(Session.given), "provider_options": [{"use_tf32": "0"}, {}]}
    assert Session.asked == [options, "no fallback"]
    monkeypatch.setattr(Session, "given", ("CPUExecutionProvider",))
    with pytest.raises(RuntimeError, match="runs on CPUExecutionProvider instead of CUDAExecutionProvider"):
        OnnxRunner(b"", providers=["CUDAExecutionProvider"])


def test_file_without_a_module_runs_eight_times_on_moved_inputs():
    run: Any = lambda inputs: inputs  # noqa: E731 - typed as a runner
    given = list(OnnxTruth(run).moved({"x": np.full(1000, 1.0, np.float32), "n": np.array([3])}))
    assert len(given) == 8
    for each in given:
        assert each["n"].tolist() == [3]
        steps = (each["x"].astype(np.float64) - 1) / 2.0**-23  # below 1 the steps of float32 are half as large
        assert set(steps.tolist()) == {-1, 0, 1}
    assert not np.array_equal(given[0]["x"], given[1]["x"])
