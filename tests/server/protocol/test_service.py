"""The protocol as clients see it, over a real connection."""

import json

import grpc
import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor

from kit.inference_requests import arrays, request
from rnnserve.protos import inference_pb2 as pb

SHAPES = {
    "direction_simple": (1, 16),
    "direction_stacked": (2, 16),
    "direction_bidirectional": (2, 32),
}


def walks(batch=3, sequence=4, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, sequence, 2)).astype(np.float32)


def refusal(call, request, **kwargs):
    with pytest.raises(grpc.RpcError) as refused:
        call(request, **kwargs)
    return refused.value.code().name, refused.value.details()


def infer(stub, name, sent, *outputs, **kwargs):
    return arrays(stub.ModelInfer(request(name, sent, outputs, **kwargs)))


def test_server_and_models_are_live_and_ready(stub):
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    for name in SHAPES:
        for version in ("", "1", "001"):
            assert stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready
    for name, version in (("direction_simpel", ""), ("", ""), ("direction_simple", "2"), ("direction_simple", "x")):
        assert not stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready


def test_server_metadata_name_the_extensions(stub):
    answer = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert answer.name == "rnnserve"
    assert answer.version
    assert {"classification", "schedule_policy", "statistics", "sealed_sessions"} <= set(answer.extensions)


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_model_metadata_describe_tensors_and_parity(stub, name, shape):
    answer = stub.ModelMetadata(pb.ModelMetadataRequest(name=name))
    states, width = shape
    assert (answer.name, list(answer.versions), answer.platform) == (name, ["1"], "onnxruntime_onnx")
    described = {
        t.name: (t.datatype, list(t.shape), t.parameters["axes"].string_param, t.parameters["optional"].bool_param)
        for t in [*answer.inputs, *answer.outputs]
    }
    assert described == {
        "input": ("FP32", [-1, -1, 2], "batch, sequence, features", False),
        "lengths": ("INT64", [-1], "batch", True),
        "h_0": ("FP32", [states, -1, 16], "layers * directions, batch, hidden", True),
        "logits": ("FP32", [-1, 2], "batch, classes", False),
        "output": ("FP32", [-1, -1, width], "batch, sequence, directions * hidden", False),
        "h_n": ("FP32", [states, -1, 16], "layers * directions, batch, hidden", False),
    }
    said = answer.properties
    assert json.loads(said["labels"]) == ["counter-clockwise", "clockwise"]
    assert (said["provider_requested"], said["provider"]) == ("cpu", "cpu")
    assert said["batch_invariant"] == "true"
    parity = json.loads(said["parity"])
    assert parity["exact"] == "float64"
    assert [distances[0] for distances in parity["distances"]] == [1, 2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]
    assert all(0 < largest < 1e-3 for _, *row in parity["distances"] for largest in row)
    nodes = json.loads(said["nodes"])
    assert list(nodes) == ["CPUExecutionProvider"]
    assert nodes["CPUExecutionProvider"]["RNN"] == (2 if name == "direction_stacked" else 1)


def test_statistics_count_requests_rows_and_runs(stub):
    def counted():
        (said,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="direction_stacked")).model_stats
        return said

    before = counted()
    for _ in range(3):
        stub.ModelInfer(request("direction_stacked", {"input": walks(batch=5)}))
    after = counted()
    assert (after.name, after.version) == ("direction_stacked", "1")
    assert after.inference_count - before.inference_count == 15
    assert after.execution_count - before.execution_count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 3
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert {batch.batch_size for batch in after.batch_stats} >= {5}
    for said in (after.inference_stats, *after.batch_stats):
        counts = {said.compute_input.count, said.compute_infer.count, said.compute_output.count}
        assert len(counts) == 1, "perf_analyzer ends where they differ"
    assert {said.name for said in stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats} == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_requested_outputs_come_in_their_order(stub, name):
    states, width = SHAPES[name]
    shapes = {"logits": (3, 2), "output": (3, 4, width), "h_n": (states, 3, 16)}
    for outputs in ((), ("logits",), ("h_n", "logits"), ("output",)):
        answer = stub.ModelInfer(request(name, {"input": walks()}, outputs, id="a walk", version="01"))
        assert (answer.model_name, answer.model_version, answer.id) == (name, "1", "a walk")
        found = arrays(answer)
        assert list(found) == list(outputs or shapes)
        assert all(found[output].shape == shapes[output] for output in found)


def test_typed_contents_are_answered_raw(stub):
    """Triton does the same: its own example sends typed contents and reads raw_output_contents."""
    sent = {"input": walks(), "lengths": np.array([4, 1, 2])}
    raw = stub.ModelInfer(request("direction_simple", sent))
    assert stub.ModelInfer(request("direction_simple", sent, raw=False)) == raw


@pytest.mark.parametrize("name", SHAPES)
def test_omitted_inputs_are_full_lengths_and_zeros(stub, name):
    states, _ = SHAPES[name]
    spared = {"lengths": np.full(3, 4), "h_0": np.zeros((states, 3, 16), np.float32)}
    whole = infer(stub, name, {"input": walks(), **spared})
    for left_out in (["lengths"], ["h_0"], ["lengths", "h_0"]):
        sent = {"input": walks(), **{n: a for n, a in spared.items() if n not in left_out}}
        for output, array in infer(stub, name, sent).items():
            np.testing.assert_array_equal(array, whole[output])


def test_output_is_zeros_after_the_length_of_each_row(stub):
    answer = infer(stub, "direction_simple", {"input": walks(), "lengths": np.array([2, 1, 2])})
    assert answer["output"].shape == (3, 4, 16)
    assert not answer["output"][:, 2:].any()
    assert answer["output"][0, 1].any()
    np.testing.assert_array_equal(answer["h_n"][0, 0], answer["output"][0, 1])


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig"])
def test_unknown_models_and_versions_are_not_found(stub, method):
    for name, version, said in (
        ("direction_simpel", "", 'no model is named "direction_simpel"; there are'),
        ("", "", "model_name is empty; there are"),
        ("direction_simple", "7", 'has no version "7"; it has 1'),
        ("direction_simple", "1.0", 'has no version "1.0"; it has 1'),
    ):
        asked = {
            "ModelInfer": request(name, {"input": walks()}, version=version),
            "ModelMetadata": pb.ModelMetadataRequest(name=name, version=version),
            "ModelConfig": pb.ModelConfigRequest(name=name, version=version),
        }
        status, words = refusal(getattr(stub, method), asked[method])
        assert status == "NOT_FOUND"
        assert said in words


def test_wrong_shape_and_size_are_explained_over_the_wire(stub):
    status, words = refusal(stub.ModelInfer, request("direction_simple", {"input": walks()[0]}))
    assert status == "INVALID_ARGUMENT"
    assert "Is the batch axis missing? One sequence of 4 points is [1, 4, 2]" in words
    large = np.zeros((8000, 300, 2), np.float32)
    status, words = refusal(stub.ModelInfer, request("direction_simple", {"input": large}))
    assert status == "INVALID_ARGUMENT"
    assert "--max-message-bytes" in words


def test_classification_returns_labels(stub):
    asked = request("direction_simple", {"input": walks(batch=2)}, ["logits", "h_n"])
    asked.outputs[0].parameters["classification"].int64_param = 1
    plain = infer(stub, "direction_simple", {"input": walks(batch=2)}, "logits", "h_n")
    labels = ("counter-clockwise", "clockwise")
    expected = [f"{row.max():f}:{row.argmax()}:{labels[row.argmax()]}".encode() for row in plain["logits"]]
    for _ in range(3):  # the fast path keeps the prefixes of requests
        answer = stub.ModelInfer(asked)
        assert [(o.name, o.datatype, list(o.shape)) for o in answer.outputs] == [
            ("logits", "BYTES", [2, 1]), ("h_n", "FP32", [1, 2, 16]),
        ]  # fmt: skip
        assert deserialize_bytes_tensor(answer.raw_output_contents[0]).tolist() == expected
        assert answer.raw_output_contents[1] == plain["h_n"].tobytes()


def test_request_that_waits_longer_than_its_timeout_is_refused(stub):
    asked = request("direction_stacked", {"input": walks()})
    asked.parameters["timeout"].int64_param = 10_000_000
    assert stub.ModelInfer(asked).outputs
    asked.parameters["timeout"].int64_param = 1  # no request is read, queued and run within a microsecond
    for _ in range(3):
        status, words = refusal(stub.ModelInfer, asked)
        assert status == "UNAVAILABLE"
        assert "parameter timeout, 1 microseconds" in words
    (said,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="direction_stacked", version="1")).model_stats
    assert said.inference_stats.fail.count >= 3
    assert said.inference_stats.fail.ns > 0


def test_log_and_trace_settings_can_be_read_but_not_changed(stub):
    log = stub.LogSettings(pb.LogSettingsRequest()).settings
    assert set(log) == {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"}
    assert log["log_error"].bool_param
    change = pb.LogSettingsRequest()
    change.settings["log_error"].bool_param = False
    assert refusal(stub.LogSettings, change)[0] == "UNIMPLEMENTED"
    trace = pb.TraceSettingRequest(model_name="direction_simple")
    trace.settings["trace_rate"].ClearField("value")  # asks for the server's own
    assert stub.TraceSetting(trace).settings["trace_level"].value == ["OFF"]
    trace.settings["trace_file"].value.append("/tmp/x")
    assert refusal(stub.TraceSetting, trace)[0] == "UNIMPLEMENTED"


def test_shared_memory_has_no_regions(stub):
    assert not stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()).regions
    assert not stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest()).regions
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())  # as clients do before they begin
    stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest(name="x"))
    region = pb.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8)
    assert refusal(stub.SystemSharedMemoryRegister, region)[0] == "UNIMPLEMENTED"
    assert refusal(stub.CudaSharedMemoryRegister, pb.CudaSharedMemoryRegisterRequest(name="x"))[0] == "UNIMPLEMENTED"
