"""The service without a transport: its methods, and its answers as stubs of the official proto read them."""

import dataclasses
import json

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from kit.inference_requests import request
from kit.paths import TESTS
from rnnserve.client.metadata import read_metadata
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import manifest_pb2
from rnnserve.server.batching.execution import CheckedBatch
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import InvalidRequest, QueueFull
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.service import statistics_message

PROTO = TESTS / "kit" / "open_inference.proto"


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Gives a message class of that proto by its name."""
    made = tmp_path_factory.mktemp("stubs") / "descriptors"
    assert protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={made}", PROTO.name]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))


def test_large_metadata_parse_with_the_official_proto(official, service, monkeypatch):
    """Regression: labels of 128 bytes or more broke the parsing when field 6 had another type."""
    labels = [f"label {number} with umlauts äöü" for number in range(200)]
    served = service.repository.find("direction_simple")
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(served.model.manifest)
    manifest.labels[:] = labels
    longer = dataclasses.replace(served, model=dataclasses.replace(served.model, manifest=manifest))
    monkeypatch.setattr(service.repository, "find", lambda *_: longer)

    answer = service.model_metadata(pb.ModelMetadataRequest(name="direction_simple"))
    read = official("ModelMetadataResponse").FromString(answer.SerializeToString())
    assert (read.name, list(read.versions), read.platform) == ("direction_simple", ["1"], "onnxruntime_onnx")
    assert [(t.name, t.datatype, list(t.shape)) for t in read.inputs] == [
        ("input", "FP32", [-1, -1, 2]),
        ("lengths", "INT64", [-1]),
        ("h_0", "FP32", [1, -1, 16]),
    ]
    assert json.loads(read.properties["labels"]) == labels
    assert (read.properties["batching"], read.properties["batch_invariant"]) == ("padded", "true")
    assert read_metadata(answer).labels == tuple(labels)  # the project's own client reads the same field


def test_responses_parse_with_the_official_proto(official, service):
    said = official("ServerMetadataResponse").FromString(service.server_metadata(None).SerializeToString())
    assert said.name == "rnnserve"
    assert "sealed_sessions" not in said.extensions  # without a key
    asked = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)}, ["logits"], id="7")
    served, checked = service.accept(asked.SerializeToString())
    (outputs,) = CheckedBatch(served.model, [], [checked]).run()
    read = official("ModelInferResponse").FromString(encode_response(served.model, checked, outputs))
    assert (read.model_name, read.model_version, read.id) == ("direction_simple", "1", "7")
    assert list(read.raw_output_contents) == [outputs["logits"].tobytes()]
    assert [(o.name, o.datatype, list(o.shape)) for o in read.outputs] == [("logits", "FP32", [1, 2])]


def test_service_has_every_method_of_the_protocol(service):
    """But ModelInfer and ModelStreamInfer, which the transports serve."""
    named = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert service.methods.keys() == named - {"ModelInfer", "ModelStreamInfer"}


def counted(*, requests, run_seconds, wait_seconds, failed_seconds, last, sizes, refusals=()):
    """Counts of a model that has done so much."""
    statistics = Statistics()
    counts = statistics.counts
    counts[places.ANSWERED] = counts[places.ANSWER_BUCKETS + 2] = requests
    counts[places.REQUEST_RUN_SECONDS], counts[places.WAIT_SECONDS] = run_seconds, wait_seconds
    counts[places.FAILED_SECONDS] = failed_seconds
    counts[places.ROWS] = sum(rows * number for rows, (number, _) in sizes.items())
    counts[places.RUN_BUCKETS] = sum(number for number, _ in sizes.values())
    statistics.sizes.update(sizes)
    statistics.last = last
    for error, is_http in refusals:
        count_refusal(error.of(counts), is_http=is_http)
    return statistics


def test_statistics_have_the_fields_and_units_of_triton():
    statistics = counted(
        requests=7, run_seconds=0.5, wait_seconds=0.25, last=1234.5678, failed_seconds=0.75,
        sizes={6: (1, 0.125), 1: (3, 0.375)},
        refusals=[(QueueFull("m", 1), False), (QueueFull("m", 1), True), (InvalidRequest("m"), False)],
    )  # fmt: skip
    said = statistics_message("m", "3", statistics)
    assert (said.name, said.version, said.last_inference) == ("m", "3", 1234567)
    assert (said.inference_count, said.execution_count) == (9, 4)
    assert (said.inference_stats.success.count, said.inference_stats.success.ns) == (7, 750_000_000)
    assert (said.inference_stats.fail.count, said.inference_stats.fail.ns) == (3, 750_000_000)
    assert (said.inference_stats.queue.count, said.inference_stats.queue.ns) == (7, 250_000_000)
    assert (said.inference_stats.compute_infer.count, said.inference_stats.compute_infer.ns) == (7, 500_000_000)
    assert (said.inference_stats.compute_input.count, said.inference_stats.compute_output.count) == (7, 7)
    assert [(b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in said.batch_stats] == [
        (1, 3, 375_000_000),
        (6, 1, 125_000_000),
    ]
    assert [(b.compute_input.count, b.compute_output.count) for b in said.batch_stats] == [(3, 3), (1, 1)]
    assert [(each.status, each.reason, each.count) for each in said.refusals] == [
        ("INVALID_ARGUMENT", "invalid_request", 1),
        ("RESOURCE_EXHAUSTED", "queue_full", 2),
    ]
    assert [(each.lower_bound, each.upper_bound, each.count) for each in said.duration_buckets] == [(100e-6, 200e-6, 7)]
