"""A version that cannot be loaded, for whatever reason, is UNAVAILABLE with one line. Every other model serves."""

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper

from kit.artifacts import build_model, publish_model
from kit.bad_versions import INPUTS, OUTPUTS, SAMPLE, TWICE
from kit.inference_requests import arrays, request
from kit.served import served
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.server.repository.load_version import load_model


def case(inputs, output) -> Case:
    return Case("step", inputs, {"output": output}, {"output": output.astype(np.float64)})


def raising(root, name):
    """A kernel that raises: the table has one row, and the case asks for the second."""
    nodes = [
        helper.make_node("Cast", ["input"], ["row"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["output"]),
    ]
    model = build_model(nodes, INPUTS, OUTPUTS, {"table": np.zeros(1, np.float32)})
    publish_model(root, name, model, INPUTS, OUTPUTS, [], cases=[case(SAMPLE, SAMPLE["input"])])


def golden_of_other_shapes(root, name):
    inputs = {"input": np.ones((2, 3), np.float32)}
    publish_model(root, name, TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, SAMPLE["input"])])


def golden_without_an_input(root, name):
    inputs = {"other": np.ones((2, 3, 2), np.float32)}
    publish_model(root, name, TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, SAMPLE["input"])])


def golden_of_another_dtype(root, name):
    inputs = {"input": np.array([[["a", "b"]]])}
    publish_model(root, name, TWICE, INPUTS, OUTPUTS, [], cases=[case(inputs, SAMPLE["input"][:1, :1])])


def without_axes(root, name):
    inputs = [manifest_pb2.Tensor(name="input", datatype="FP32")]
    publish_model(root, name, TWICE, inputs, OUTPUTS, [SAMPLE])


def a_file_for_a_version(root, name):
    publish_model(root, name, TWICE, INPUTS, OUTPUTS, [SAMPLE])
    manifest = root / name / "1" / "manifest.json"
    manifest.unlink()
    manifest.mkdir()


def a_config_that_is_a_folder(root, name):
    publish_model(root, name, TWICE, INPUTS, OUTPUTS, [SAMPLE])
    config = root / name / "config.pbtxt"
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


def test_bad_versions_are_unavailable_and_the_others_serve(tmp_path):
    publish_model(tmp_path, "good", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    for make in BAD:
        make(tmp_path, make.__name__)
    with served(tmp_path) as server:
        until(lambda: not server.server._repository.is_loading())
        stub = server.stub
        index = {m.name: (m.state, m.reason) for m in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models}
        assert index.pop("good") == ("READY", "")
        assert index.keys() == {make.__name__ for make in BAD}
        for make, said in BAD.items():
            state, reason = index[make.__name__]
            assert state == "UNAVAILABLE"
            assert reason.startswith(said)
            assert "\n" not in reason
            assert str(tmp_path) not in reason
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request(make.__name__, SAMPLE))
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert said in refused.value.details()
        answer = stub.ModelInfer(request("good", SAMPLE))
        np.testing.assert_array_equal(arrays(answer)["output"], 2 * SAMPLE["input"])


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
