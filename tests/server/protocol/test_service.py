"""The protocol as clients see it, over a real connection."""

import json

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest
from support.inference_requests import arrays, request

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
    said = {key: value.string_param for key, value in answer.parameters.items()}
    assert json.loads(said["labels"]) == ["counter-clockwise", "clockwise"]
    assert (said["provider_requested"], said["provider"]) == ("cpu", "cpu")
    assert answer.parameters["batch_invariant"].bool_param
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


def test_typed_contents_are_answered_in_kind(stub):
    sent = {"input": walks(), "lengths": np.array([4, 1, 2])}
    raw = arrays(stub.ModelInfer(request("direction_simple", sent)))
    typed = stub.ModelInfer(request("direction_simple", sent, raw=False))
    assert not typed.raw_output_contents
    for tensor in typed.outputs:
        np.testing.assert_array_equal(
            np.array(tensor.contents.fp32_contents, np.float32).reshape(tuple(tensor.shape)), raw[tensor.name]
        )


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
        ("direction_simple", "01", grpc.StatusCode.NOT_FOUND, 'has no version "01"; it has 1'),
    ],
)
@pytest.mark.parametrize("method", ["infer", "metadata", "ready", "config"])
def test_unknown_names(stub, name, version, status, said, method):
    calls = {
        "infer": lambda: stub.ModelInfer(request(name, {"input": walks()}, version=version)),
        "metadata": lambda: stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
        "ready": lambda: stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)),
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


def test_a_method_that_is_not_there(stub):
    with pytest.raises(grpc.RpcError) as refused:
        stub.LogSettings(pb.LogSettingsRequest())
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


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
