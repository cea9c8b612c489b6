"""Server reflection as grpcurl uses it, in both versions, and its limits."""

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from rnnserve.protos import inference_pb2

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
]


def stream(channel, version):
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )


def test_client_calls_a_method_found_by_reflection(channel):
    """With grpcio-reflection's own client, and no stubs."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert sorted(database.get_services()) == SERVICES
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert [method.name for method in service.methods] == [
        method.name for method in inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    ]
    method = service.FindMethodByName("ModelMetadata")
    asked, answered = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    call = channel.unary_unary(f"/{service.full_name}/{method.name}", asked.SerializeToString, answered.FromString)
    answer = call(asked(name="direction_simple"))
    assert [tensor.name for tensor in answer.inputs] == ["input", "lengths", "h_0"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_answer_alike(channel, version):
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in SERVICES),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.Nothing"),
        reflection_pb2.ServerReflectionRequest(),
    ]
    listed, *found, unknown, empty = stream(channel, version)(iter(asked))
    assert [service.name for service in listed.list_services_response.service] == SERVICES
    files = [len(answer.file_descriptor_response.file_descriptor_proto) for answer in found]
    assert files == [1, 1, 1, 2]  # the inference protocol imports the model's configuration
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert empty.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_invalid_reflection_request_is_refused(channel):
    call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    for payload, said in ((b"\x22\xff\x7f" + b"x" * 16383, "at most 4,096"), (b"\xff\xff", "not a Server")):
        with pytest.raises(grpc.RpcError) as refused:
            next(call(iter([payload])))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert said in refused.value.details()
