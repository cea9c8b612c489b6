"""The protocol as clients see it, over a real connection."""

import json

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor

from kit.inference_requests import arrays, request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest

SHAPES = {
    "direction_simple": (1, 16),
    "direction_stacked": (2, 16),
    "direction_bidirectional": (2, 32),
}


def walks(batch=3, sequence=4, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, sequence, 2)).astype(np.float32)


def test_live_and_ready(stub):
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    for name in SHAPES:
        assert stub.ModelReady(pb.ModelReadyRequest(name=name)).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name=name, version="1")).ready


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "inference.GRPCInferenceService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))  # type: ignore[attr-defined]
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_server_metadata(stub):
    answer = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert answer.name == "rnnserve"
    assert answer.version
    assert {"classification", "schedule_policy", "statistics"} <= set(answer.extensions)


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_model_metadata(stub, name, shape):
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


def test_model_config_is_the_file(stub, repository):
    config = stub.ModelConfig(pb.ModelConfigRequest(name="direction_simple")).config
    assert config.name == "direction_simple"
    assert [tensor.name for tensor in config.input] == ["input", "lengths", "h_0"]
    assert [tensor.name for tensor in config.output] == ["logits", "output", "h_n"]


def test_statistics_count_what_was_run(stub):
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


def test_repository_index(stub):
    models = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert {(m.name, m.version, m.state, m.reason) for m in models} == {(name, "1", "READY", "") for name in SHAPES}


@pytest.mark.parametrize("outputs", [(), ("logits",), ("h_n", "logits"), ("output",)])
@pytest.mark.parametrize("name", SHAPES)
def test_outputs_are_those_asked_for_in_their_order(stub, name, outputs):
    answer = stub.ModelInfer(request(name, {"input": walks()}, outputs, id="a walk"))
    assert (answer.model_name, answer.model_version, answer.id) == (name, "1", "a walk")
    found = arrays(answer)
    states, width = SHAPES[name]
    shapes = {"logits": (3, 2), "output": (3, 4, width), "h_n": (states, 3, 16)}
    assert list(found) == list(outputs or shapes)
    assert all(found[output].shape == shapes[output] for output in found)


def test_typed_contents_are_answered_raw(stub):
    """As by Triton: its own example reads raw_output_contents of what it asked with typed contents."""
    sent = {"input": walks(), "lengths": np.array([4, 1, 2])}
    raw = stub.ModelInfer(request("direction_simple", sent))
    assert stub.ModelInfer(request("direction_simple", sent, raw=False)) == raw


@pytest.mark.parametrize("name", SHAPES)
def test_what_may_be_left_out_means_full_length_and_zeros(stub, name):
    states, _ = SHAPES[name]
    spared = {"lengths": np.full(3, 4), "h_0": np.zeros((states, 3, 16), np.float32)}
    whole = arrays(stub.ModelInfer(request(name, {"input": walks(), **spared})))
    for left_out in (["lengths"], ["h_0"], ["lengths", "h_0"]):
        sent = {"input": walks(), **{n: a for n, a in spared.items() if n not in left_out}}
        for output, array in arrays(stub.ModelInfer(request(name, sent))).items():
            np.testing.assert_array_equal(array, whole[output])


def test_output_behind_a_length_is_zeros_even_where_no_row_reaches_it(stub):
    answer = arrays(stub.ModelInfer(request("direction_simple", {"input": walks(), "lengths": np.array([2, 1, 2])})))
    assert answer["output"].shape == (3, 4, 16)
    assert not answer["output"][:, 2:].any()
    assert answer["output"][0, 1].any()
    np.testing.assert_array_equal(answer["h_n"][0, 0], answer["output"][0, 1])


def test_a_sequence_in_two_parts_equals_the_whole(stub):
    whole = arrays(stub.ModelInfer(request("direction_stacked", {"input": walks(2, 9)})))
    first = arrays(stub.ModelInfer(request("direction_stacked", {"input": walks(2, 9)[:, :4]})))
    second = {"input": np.ascontiguousarray(walks(2, 9)[:, 4:]), "h_0": first["h_n"]}
    rest = arrays(stub.ModelInfer(request("direction_stacked", second)))
    np.testing.assert_array_equal(rest["h_n"], whole["h_n"])
    np.testing.assert_array_equal(rest["logits"], whole["logits"])


@pytest.mark.parametrize(
    ("name", "version", "status", "said"),
    [
        ("direction_simpel", "", grpc.StatusCode.NOT_FOUND, 'no model is named "direction_simpel"; there are'),
        ("", "", grpc.StatusCode.NOT_FOUND, "model_name is empty; there are"),
        ("direction_simple", "7", grpc.StatusCode.NOT_FOUND, 'has no version "7"; it has 1'),
        ("direction_simple", "1.0", grpc.StatusCode.NOT_FOUND, 'has no version "1.0"; it has 1'),
    ],
)
@pytest.mark.parametrize("method", ["infer", "metadata", "config"])
def test_unknown_names(stub, name, version, status, said, method):
    calls = {
        "infer": lambda: stub.ModelInfer(request(name, {"input": walks()}, version=version)),
        "metadata": lambda: stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
        "config": lambda: stub.ModelConfig(pb.ModelConfigRequest(name=name, version=version)),
    }
    with pytest.raises(grpc.RpcError) as refused:
        calls[method]()
    assert refused.value.code() == status
    assert said in refused.value.details()


def test_a_wrong_shape_is_explained_over_the_wire(stub):
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request("direction_simple", {"input": walks()[0]}))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Is the batch axis missing? One sequence of 4 points is [1, 4, 2]" in refused.value.details()


@pytest.mark.parametrize(
    ("name", "version"), [("direction_simpel", ""), ("", ""), ("direction_simple", "2"), ("direction_simple", "x")]
)
def test_what_is_not_known_is_not_ready(stub, name, version):
    assert not stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready


def test_a_version_is_a_number(stub):
    asked = request("direction_simple", {"input": walks()}, version="01")
    assert stub.ModelInfer(asked).model_version == "1"
    assert stub.ModelReady(pb.ModelReadyRequest(name="direction_simple", version="001")).ready


def test_classes_are_told_with_their_labels(stub):
    asked = request("direction_simple", {"input": walks(batch=2)}, ["logits", "h_n"])
    asked.outputs[0].parameters["classification"].int64_param = 1
    plain = arrays(stub.ModelInfer(request("direction_simple", {"input": walks(batch=2)}, ["logits", "h_n"])))
    labels = ("counter-clockwise", "clockwise")
    expected = [f"{row.max():f}:{row.argmax()}:{labels[row.argmax()]}".encode() for row in plain["logits"]]
    for _ in range(3):  # on the lane too, where the prefixes of requests are kept
        answer = stub.ModelInfer(asked)
        assert [(o.name, o.datatype, list(o.shape)) for o in answer.outputs] == [
            ("logits", "BYTES", [2, 1]), ("h_n", "FP32", [1, 2, 16]),
        ]  # fmt: skip
        assert deserialize_bytes_tensor(answer.raw_output_contents[0]).tolist() == expected
        assert answer.raw_output_contents[1] == plain["h_n"].tobytes()


def test_a_request_that_waits_longer_than_its_timeout_is_refused(stub):
    asked = request("direction_stacked", {"input": walks()})
    asked.parameters["timeout"].int64_param = 10_000_000
    assert stub.ModelInfer(asked).outputs
    asked.parameters["timeout"].int64_param = 1  # no request is read, queued and run within a microsecond
    for _ in range(3):
        assert refusal(stub.ModelInfer, asked) == (
            "UNAVAILABLE", "Request timeout expired: it waited longer than its parameter timeout, 1 microseconds",
        )  # fmt: skip
    (said,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="direction_stacked", version="1")).model_stats
    assert said.inference_stats.fail.count >= 3
    assert said.inference_stats.fail.ns > 0


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as refused:
        call(request)
    return refused.value.code().name, refused.value.details()


def test_log_settings_are_read_and_not_changed(stub):
    said = stub.LogSettings(pb.LogSettingsRequest()).settings
    assert (said["log_file"].string_param, said["log_format"].string_param) == ("", "default")
    assert said["log_error"].bool_param
    assert set(said) == {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"}
    same = pb.LogSettingsRequest()
    for name, value in said.items():
        same.settings[name].ParseFromString(value.SerializeToString())
    assert stub.LogSettings(same).settings == said
    same.settings["log_file"].string_param = "/tmp/x"
    assert refusal(stub.LogSettings, same) == (
        "UNIMPLEMENTED",
        "log_file: the log is written to standard error, and to no file that a client names: redirect it where the "
        "server is started",
    )
    other = pb.LogSettingsRequest()
    other.settings["log_error"].bool_param = False
    assert refusal(stub.LogSettings, other) == (
        "UNIMPLEMENTED", "log_error: no client can change it: choose with --log-level where the server is started",
    )  # fmt: skip
    unknown = pb.LogSettingsRequest()
    unknown.settings["log"].bool_param = False
    assert refusal(stub.LogSettings, unknown)[1].startswith('no setting is named "log"; there are log_')


def test_trace_settings_are_read_and_not_changed(stub):
    said = stub.TraceSetting(pb.TraceSettingRequest(model_name="direction_simple")).settings
    assert said["trace_level"].value == ["OFF"]
    same = pb.TraceSettingRequest()
    for name, setting in said.items():
        same.settings[name].value.extend(setting.value)
    same.settings["trace_rate"].ClearField("value")  # asks for the server's own
    assert stub.TraceSetting(same).settings == said
    for name, value in (("trace_file", "/tmp/x"), ("trace_level", "TIMESTAMPS"), ("trace_rate", "1")):
        other = pb.TraceSettingRequest()
        other.settings[name].value.append(value)
        assert refusal(stub.TraceSetting, other) == (
            "UNIMPLEMENTED",
            f"{name}: this server traces no requests, and writes no files; ModelStatistics says how long requests wait "
            "and run",
        )
    assert refusal(stub.TraceSetting, pb.TraceSettingRequest(model_name="x"))[0] == "NOT_FOUND"
    other = pb.TraceSettingRequest()
    other.settings["rate"].value.append("1")
    assert refusal(stub.TraceSetting, other)[0] == "INVALID_ARGUMENT"


def test_no_shared_memory_is_registered(stub):
    assert not stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()).regions
    assert not stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest()).regions
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())  # as clients do before they begin
    stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest(name="x"))
    unknown = ("NOT_FOUND", 'no shared memory region is named "x": none is registered')
    assert refusal(stub.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest(name="x")) == unknown
    assert refusal(stub.CudaSharedMemoryStatus, pb.CudaSharedMemoryStatusRequest(name="x")) == unknown
    said = "shared memory is not supported: send tensors in raw_input_contents, and read raw_output_contents"
    for call, asked in (
        (stub.SystemSharedMemoryRegister, pb.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8)),
        (stub.CudaSharedMemoryRegister, pb.CudaSharedMemoryRegisterRequest(name="x", byte_size=8)),
    ):
        assert refusal(call, asked) == ("UNIMPLEMENTED", said)


def test_every_method_of_the_protocol_is_there(service):
    """But ModelInfer and ModelStreamInfer, which the transports serve."""
    named = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert service.methods.keys() == named - {"ModelInfer", "ModelStreamInfer"}


def test_a_deadline_that_passes_during_a_run(stub):
    large = np.zeros((4000, 250, 2), np.float32)  # takes some 100 ms
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request("direction_stacked", {"input": large}), timeout=0.02)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    answer = stub.ModelInfer(request("direction_stacked", {"input": walks()}))
    assert "logits" in arrays(answer)


def test_a_message_that_is_too_large_is_refused_and_explained(stub):
    large = np.zeros((8000, 300, 2), np.float32)
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request("direction_simple", {"input": large}))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "--max-message-bytes" in refused.value.details()


def test_a_request_that_waited_is_checked_for_the_version_that_it_began_with(service):
    """As where a version with other shapes has taken over meanwhile."""
    began_with = service.repository.find("direction_bidirectional")
    sent = {"input": np.zeros((1, 2, 2), np.float32), "h_0": np.zeros((2, 1, 16), np.float32)}
    payload = request("direction_simple", sent).SerializeToString()
    with pytest.raises(InvalidRequest):
        service.accept(payload)
    assert service.check(payload, began_with).inputs["h_0"].shape == (2, 1, 16)
