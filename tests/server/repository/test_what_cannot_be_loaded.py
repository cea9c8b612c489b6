"""A version that cannot be loaded, for whatever reason, is UNAVAILABLE with one line; every other model serves."""

import os

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.server import Server, Settings
from rnnserve.server.repository import repository
from rnnserve.server.repository.loading import load_model
from rnnserve.server.repository.repository import UNAVAILABLE, Repository
from support.artifacts import build_model, publish_model, tensor
from support.inference_requests import arrays, request

INPUTS = [tensor("input", "FP32", "batch", "sequence", ("features", 2))]
OUTPUTS = [tensor("output", "FP32", "batch", "sequence", ("features", 2))]
SAMPLE = {"input": np.ones((2, 3, 2), np.float32)}
TWICE = build_model([helper.make_node("Add", ["input", "input"], ["output"])], INPUTS, OUTPUTS, {})


def case(inputs, output) -> Case:
    return Case("step", inputs, {"output": output}, {"output": output.astype(np.float64)})


def garbage(root):
    publish_model(root, "bad", b"\x08\x07 no model", INPUTS, OUTPUTS, [], cases=[case(SAMPLE, SAMPLE["input"])])


def raising(root):
    """A kernel that raises: the table has one row, and the case asks for the second."""
    nodes = [
        helper.make_node("Cast", ["input"], ["row"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["output"]),
    ]
    model = build_model(nodes, INPUTS, OUTPUTS, {"table": np.zeros(1, np.float32)})
    publish_model(root, "bad", model, INPUTS, OUTPUTS, [], cases=[case(SAMPLE, SAMPLE["input"])])


def golden_of_other_shapes(root):
    inputs = {"input": np.ones((2, 3), np.float32)}
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, SAMPLE["input"])])


def golden_without_rows(root):
    inputs = {"input": np.ones((0, 3, 2), np.float32)}
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, inputs["input"])])


def golden_without_an_input(root):
    inputs = {"other": np.ones((2, 3, 2), np.float32)}
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, SAMPLE["input"])])


def golden_of_another_dtype(root):
    inputs = {"input": np.array([[["a", "b"]]])}
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, SAMPLE["input"][:1, :1])])


def without_axes(root):
    inputs = [manifest_pb2.Tensor(name="input", datatype="FP32")]
    publish_model(root, "bad", TWICE, inputs, OUTPUTS, [SAMPLE])


def a_file_for_a_version(root):
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    manifest = root / "bad" / "1" / "manifest.json"
    manifest.unlink()
    manifest.mkdir()


def a_config_that_is_a_folder(root):
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    config = root / "bad" / "config.pbtxt"
    config.unlink()
    config.mkdir()


def a_pipe_for_a_file(root):
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    golden = root / "bad" / "1" / "golden.npz"
    golden.unlink()
    os.mkfifo(golden)


def a_config_that_is_a_pipe(root):
    publish_model(root, "bad", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    config = root / "bad" / "config.pbtxt"
    config.unlink()
    os.mkfifo(config)


BAD = {
    garbage: "model.onnx: onnxruntime cannot load it: ",
    raising: "golden.npz: model.onnx does not run these cases on cpu: InvalidRequest: ",
    golden_of_other_shapes: "golden.npz: ",
    golden_without_rows: "golden.npz: ",
    golden_without_an_input: "golden.npz: ",
    golden_of_another_dtype: "golden.npz: ",
    without_axes: "manifest.json: ",
    a_file_for_a_version: "manifest.json: cannot be read: Is a directory",
    a_config_that_is_a_folder: "config.pbtxt: cannot be read: Is a directory",
    a_pipe_for_a_file: "golden.npz: cannot be read: is no regular file",
    a_config_that_is_a_pipe: "config.pbtxt: cannot be read: is no regular file",
}


@pytest.mark.parametrize(("make", "said"), BAD.items(), ids=[make.__name__ for make in BAD])
def test_a_bad_version_is_unavailable_and_the_others_serve(tmp_path, make, said):
    publish_model(tmp_path, "good", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    make(tmp_path)
    settings = Settings(tmp_path, grpc_port=0, provider="cpu")
    with Server(settings) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        index = {m.name: (m.state, m.reason) for m in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models}
        assert index["good"] == ("READY", "")
        state, reason = index["bad"]
        assert state == "UNAVAILABLE"
        assert reason.startswith(said)
        assert "\n" not in reason
        assert str(tmp_path) not in reason
        answer = stub.ModelInfer(request("good", SAMPLE))
        np.testing.assert_array_equal(arrays(answer)["output"], 2 * SAMPLE["input"])
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request("bad", SAMPLE))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert said in refused.value.details()


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("in /home/some one/x.py:3\nmore"), KeyError("x")])
def test_whatever_loading_raises_the_version_before_serves(tmp_path, monkeypatch, caplog, error):
    publish_model(tmp_path, "good", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    publish_model(tmp_path, "good", TWICE, INPUTS, OUTPUTS, [SAMPLE], version=2)
    load = load_model

    def load_or_raise(folder, name, version, device, **options):
        if version == "2":
            raise error
        return load(folder, name, version, device, **options)

    monkeypatch.setattr(repository, "load_model", load_or_raise)
    models = Repository(tmp_path, "cpu")
    models.load()
    assert models.find("good").model.version == "1"
    ((_, statuses),) = models.statuses()
    assert statuses[2].state == UNAVAILABLE
    assert statuses[2].reason.startswith(f"cannot be loaded: {type(error).__name__}: ")
    assert "\n" not in statuses[2].reason
    assert "/home" not in statuses[2].reason
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(("wrong", "more"), [(1, ""), (2, " (and 1 more)"), (5, " (and 4 more)")])
def test_of_several_golden_results_that_differ_the_first_is_told(tmp_path, wrong, more):
    right = case(SAMPLE, 2 * SAMPLE["input"])
    cases = [right, *[case(SAMPLE, 2 * SAMPLE["input"] + 1)] * wrong, right]
    folder = publish_model(tmp_path, "bad", TWICE, INPUTS, OUTPUTS, [], cases=cases)
    with pytest.raises(ArtifactError) as refused:
        load_model(folder, "bad", "1", "cpu")
    said = str(refused.value)
    start = "golden.npz: model.onnx does not give these results on cpu: "
    assert said.startswith(start)
    assert said.removeprefix(start).count("(and") == (wrong > 1)
    assert said.endswith(more)


def test_an_adopted_version_is_loaded_only_where_that_is_said(tmp_path):
    folder = publish_model(tmp_path, "m", TWICE, INPUTS, OUTPUTS, [SAMPLE], origin=manifest_pb2.ORIGIN_ADOPTED)
    with pytest.raises(ArtifactError, match=r"--allow-unproven serves it$"):
        load_model(folder, "m", "1", "cpu")
    assert load_model(folder, "m", "1", "cpu", allow_unproven=True).origin == "adopted"
