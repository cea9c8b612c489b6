"""gRPC's server reflection: clients such as grpcurl ask which services there are, and what their messages look like.

grpcio-reflection answers, with descriptors that are copied into a pool: the stubs of the contracts are in one of their
own. It has v1alpha only; v1 is the same on the wire, and its description is made from that of v1alpha.
"""

import grpc
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, ReflectionServicer

from rnnserve.protos import health_pb2, inference_pb2
from rnnserve.server.errors import InvalidRequest

__all__ = ["REFLECTION_SERVICES", "ReflectionService"]

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"

REFLECTION_SERVICES = (SERVICE_NAME, SERVICE_NAME.replace(_ALPHA, _V1))

_MAX_BYTES = 4096
"""Bytes of a request of server reflection, which its response repeats; names of symbols and files have some dozens.
Beyond it: RESOURCE_EXHAUSTED."""


class ReflectionService:
    """Describes the services of this server."""

    def __init__(self) -> None:
        """Collect the descriptors."""
        pool = DescriptorPool()
        added: set[str] = set()
        for module in (inference_pb2, health_pb2, reflection_pb2):
            _add(module.DESCRIPTOR, pool, added)
        pool.AddSerializedFile(_description_of_v1())
        services = [name for module in (inference_pb2, health_pb2) for name in _services(module.DESCRIPTOR)]
        self._servicer = ReflectionServicer([*services, *REFLECTION_SERVICES], pool)

    def answer(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer one message of ServerReflectionInfo.

        Raises:
            InvalidRequest: If the bytes are no request, or one that is too long.
        """
        if len(payload) > _MAX_BYTES:
            raise InvalidRequest(
                f"the request has {len(payload):,} bytes, more than the {_MAX_BYTES:,} of which this server describes "
                "a symbol, a file or its services"
            )
        try:
            request = reflection_pb2.ServerReflectionRequest.FromString(payload)
        except DecodeError:
            raise InvalidRequest("not a ServerReflectionRequest") from None
        (response,) = self._servicer.ServerReflectionInfo(iter([request]), context)
        encoded: bytes = response.SerializeToString()
        return encoded


def _add(file: FileDescriptor, pool: DescriptorPool, added: set[str]) -> None:
    """Copy a file into a pool, after those that it imports."""
    for imported in file.dependencies:
        _add(imported, pool, added)
    if file.name not in added:
        added.add(file.name)
        pool.AddSerializedFile(file.serialized_pb)


def _services(file: FileDescriptor) -> list[str]:
    return [service.full_name for service in file.services_by_name.values()]


def _description_of_v1() -> bytes:
    described = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(described)
    text = text_format.MessageToString(described).replace(_ALPHA, _V1)
    described = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    described.name = "grpc/reflection/v1/reflection.proto"
    return described.SerializeToString()
