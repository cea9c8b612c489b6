"""The server that is attacked: its address, a model that serves, and requests that are valid for it."""

import math
import struct

import grpc

from rnnserve.protos import inference_pb2 as pb

__all__ = ["Target", "TargetError", "encode_varint"]

_SERVICE = "/inference.GRPCInferenceService/"

_CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
]

_SIZES = {
    "BOOL": 1, "INT8": 1, "UINT8": 1, "INT16": 2, "UINT16": 2, "INT32": 4, "UINT32": 4, "INT64": 8, "UINT64": 8,
    "FP16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip

_SEQUENCE = 4
"""Size of every dynamic axis but the batch: models of text and of steps take it."""

_SECONDS = 10.0


class TargetError(Exception):
    """There is no server of the protocol, or none with a model that takes a request drawn from its metadata."""


def encode_varint(number: int) -> bytes:
    """Write a number of up to 64 bits as protobuf does."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class Target:
    """A server of the Open Inference Protocol.

    Attributes:
        address: Host and port.
        host: The host.
        port: The port.
        model: Name of a model that serves.
        metadata_request: A valid ModelMetadataRequest for it.
        valid: A valid ModelInferRequest for it.
        channel: The attacker's, which is not the bystander's.
    """

    def __init__(self, address: str, model: str | None = None) -> None:
        """Read the metadata of a model, and try a request.

        Args:
            address: Host and port.
            model: Its name; None for the first of the server's index.

        Raises:
            TargetError: If the server does not answer as the protocol says.
        """
        self.address = address
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.channel = grpc.insecure_channel(address, _CHANNEL)
        try:
            self.model = model or self._first_model()
            self.metadata_request = pb.ModelMetadataRequest(name=self.model).SerializeToString()
            self._metadata = pb.ModelMetadataResponse.FromString(self._ask("ModelMetadata", self.metadata_request))
            self.valid = self._find_valid()
        except grpc.RpcError as error:
            raise TargetError(f"{address}: {error.code().name}: {error.details()}") from error

    def close(self) -> None:
        """Close the attacker's channel."""
        self.channel.close()

    def path(self, method: str) -> str:
        """The full name of a method of the service. What begins with a slash is one."""
        return method if method.startswith("/") else _SERVICE + method

    def request(self, batch: int = 1, sequence: int = _SEQUENCE) -> pb.ModelInferRequest:
        """A request of zeros, with raw contents, for the inputs that the metadata do not call optional."""
        message = pb.ModelInferRequest(model_name=self.model)
        for tensor in self._metadata.inputs:
            if tensor.parameters["optional"].bool_param:
                continue
            shape = [size if size > 0 else batch if at == 0 else sequence for at, size in enumerate(tensor.shape)]
            message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
            message.raw_input_contents.append(_zeros(tensor.datatype, shape))
        return message

    def largest_output(self) -> str:
        """Name of the output with the most elements for a long request: the one with most dynamic axes."""
        return max(self._metadata.outputs, key=lambda tensor: sum(size < 0 for size in tensor.shape)).name

    @property
    def inputs(self) -> list[pb.ModelMetadataResponse.TensorMetadata]:
        """All inputs, optional ones included."""
        return list(self._metadata.inputs)

    def _first_model(self) -> str:
        index = pb.RepositoryIndexResponse.FromString(self._ask("RepositoryIndex", b""))
        for model in index.models:
            if model.state in ("READY", ""):
                return model.name
        raise TargetError(f"{self.address}: no model serves; name one with --model")

    def _find_valid(self) -> bytes:
        payload = self.request().SerializeToString()
        self._ask("ModelInfer", payload)
        return payload

    def _ask(self, method: str, payload: bytes) -> bytes:
        send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(self.path(method))
        return send(payload, timeout=_SECONDS, wait_for_ready=True)


def _zeros(datatype: str, shape: list[int]) -> bytes:
    elements = math.prod(shape)
    if datatype == "BYTES":
        return struct.pack("<I", 0) * elements
    return bytes(elements * _SIZES.get(datatype, 4))
