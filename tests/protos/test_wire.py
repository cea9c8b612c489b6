"""Our .proto files are wire-compatible with those of tritonclient, so existing clients work unchanged."""

import re

import grpc_health.v1.health_pb2
import pytest
import tritonclient.grpc.model_config_pb2
import tritonclient.grpc.service_pb2
from google.protobuf import descriptor_pb2

from rnnserve.protos import health_pb2, inference_pb2, model_config_pb2

# The Open Inference Protocol has the first, nobody the second, KServe the next four, and the rest is this server's own:
# tritonclient skips them as unknown.
OURS = {
    "message ModelMetadataResponse field 6 properties",
    "message ModelMetadataResponse.TensorMetadata field 4 parameters",
    "message RepositoryModelLoadResponse field 1 model_name",
    "message RepositoryModelLoadResponse field 2 is_loaded",
    "message RepositoryModelUnloadResponse field 1 model_name",
    "message RepositoryModelUnloadResponse field 2 is_unloaded",
    "message ModelStatistics field 1001 refusals",
    "message ModelStatistics field 1002 duration_buckets",
    "message RefusalStatistics",
    "message RefusalStatistics field 1 status",
    "message RefusalStatistics field 2 reason",
    "message RefusalStatistics field 3 count",
    "message DurationBucket",
    "message DurationBucket field 1 upper_bound",
    "message DurationBucket field 2 count",
    "message DurationBucket field 3 lower_bound",
}


def describe(module) -> descriptor_pb2.FileDescriptorProto:
    described = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(described)
    return described


def facts(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    """All that decides about bytes on the wire: names of methods, numbers, types and kinds of fields."""
    found = {}
    for service in file.service:
        for method in service.method:
            streams = f"{method.client_streaming} {method.server_streaming}"
            found[f"method {service.name}.{method.name}"] = f"{method.input_type} {method.output_type} {streams}"
    for enum in file.enum_type:
        found |= enum_facts(enum, "")
    for message in file.message_type:
        found |= message_facts(message, "")
    return found


def message_facts(message: descriptor_pb2.DescriptorProto, prefix: str) -> dict[str, str]:
    name = prefix + message.name
    found = {f"message {name}": ""}
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        found[f"message {name} field {field.number} {field.name}"] = (
            f"{field.label} {field.type} {field.type_name} {oneof}"
        )
    for enum in message.enum_type:
        found |= enum_facts(enum, name + ".")
    for nested in message.nested_type:
        if not nested.options.map_entry or name.startswith("Model"):
            found |= message_facts(nested, name + ".")
    return found


def enum_facts(enum: descriptor_pb2.EnumDescriptorProto, prefix: str) -> dict[str, str]:
    return {f"enum {prefix}{enum.name} {value.name}": str(value.number) for value in enum.value}


@pytest.mark.parametrize(
    ("module", "peer", "extensions"),
    [
        (inference_pb2, tritonclient.grpc.service_pb2, OURS),
        (model_config_pb2, tritonclient.grpc.model_config_pb2, set()),
    ],
    ids=["inference", "model_config"],
)
def test_protocol_is_wire_compatible_with_triton(module, peer, extensions):
    mine, theirs = facts(describe(module)), facts(describe(peer))
    assert {name: mine.get(name) for name in theirs} == theirs
    added = {name for name in mine.keys() - theirs.keys() if not re.search("(Parameter|Propertie)sEntry", name)}
    assert added == extensions


def test_health_protocol_is_wire_compatible_with_grpc():
    mine, theirs = facts(describe(health_pb2)), facts(describe(grpc_health.v1.health_pb2))
    assert {name: mine.get(name) for name in theirs} == theirs
    listed = {name for name in mine.keys() - theirs.keys() if "StatusesEntry" not in name}
    assert listed <= {
        "method Health.List",
        "message HealthListRequest",
        "message HealthListResponse",
        "message HealthListResponse field 1 statuses",
    }
