"""A version that cannot be loaded, for whatever reason, is UNAVAILABLE with one line; every other model serves."""

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper

from kit.artifacts import build_model, publish_model
from kit.bad_versions import INPUTS, OUTPUTS, SAMPLE, TWICE
from kit.inference_requests import arrays, request
from kit.served_here import asking
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.server.repository.load_version import load_model


def case(inputs, output) -> Case:
    return Case("step", inputs, {"output": output}, {"output": output.astype(np.float64)})


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


BAD = {
    raising: "golden.npz: model.onnx does not run these cases on cpu: InvalidRequest: ",
    golden_of_other_shapes: "golden.npz: ",
    golden_without_an_input: "golden.npz: ",
    golden_of_another_dtype: "golden.npz: ",
    without_axes: "manifest.json: ",
    a_file_for_a_version: "manifest.json: cannot be read: Is a directory",
    a_config_that_is_a_folder: "config.pbtxt: cannot be read: Is a directory",
}


@pytest.mark.parametrize(("make", "said"), BAD.items(), ids=[make.__name__ for make in BAD])
def test_a_bad_version_is_unavailable_and_the_others_serve(tmp_path, make, said):
    publish_model(tmp_path, "good", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    make(tmp_path)
    with asking(tmp_path) as stub:
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
