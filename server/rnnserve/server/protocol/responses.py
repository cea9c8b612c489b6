"""Encode a run's outputs, or an error, for the client. The bytes are the same on every transport.

A response is a head followed by the outputs' bytes. The head depends only on the model, the sizes and the requested
outputs, so the fast path keeps it for each request template.
"""

import dataclasses
import functools
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from google.rpc import code_pb2, error_details_pb2, status_pb2

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import ERRORS_AS_STATUSES, FINAL_RESPONSE, REQUEST_ID, STATUS, STATUS_DETAILS
from rnnserve.server.connections.byte_budget import LARGE
from rnnserve.server.errors import ServeError
from rnnserve.server.validation.signature import Array, CheckedRequest

if TYPE_CHECKING:  # importing it loads onnxruntime, and choosing gRPC's polling must not wait for that
    from rnnserve.server.repository.model import Model

__all__ = [
    "ResponseHead",
    "encode_response",
    "encode_stream_error",
    "encode_stream_response",
    "encode_varint",
    "errors_end_stream",
    "rank_classes",
    "trailing_metadata",
]

# Tags of length-delimited fields of ModelInferResponse, and of ModelStreamInferResponse: number << 3 | 2.
_ID, _RAW_OUTPUT = b"\x1a", b"\x32"
_ERROR_MESSAGE, _INFER_RESPONSE = b"\x0a", b"\x12"

_FINAL_MARK = pb.ModelInferResponse(parameters={FINAL_RESPONSE: pb.InferParameter(bool_param=True)}).SerializeToString()
"""The field that marks the last response to a request. Triton also sends it on streams."""

_MAX_BYTES = 2048
"""Bytes of an error's details, in addition to its message. With a message of 4 kB they take 7 kB in base64, and clients
accept 8 kB of metadata. Beyond it: a shorter description, or no details."""


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response with raw outputs, without its id and the outputs' bytes.

    `before_outputs` precede the bytes of each output. The first follows the id's field and describes all outputs.
    """

    before_id: bytes
    before_outputs: tuple[bytes, ...]

    @classmethod
    def of(cls, model: "Model", batch: int, sizes: Mapping[str, int], outputs: Iterable[str]) -> Self:
        """Build the head of the responses to requests of these rows and sizes of sequence axes for these outputs."""
        before = pb.ModelInferResponse(model_name=model.name, model_version=model.version)
        described = pb.ModelInferResponse()
        tags: list[bytes] = []
        for name in outputs:
            spec = model.signature.outputs[name]
            shape = spec.shape(batch, sizes)
            described.outputs.add(name=name, datatype=spec.datatype, shape=shape)
            tags.append(_RAW_OUTPUT + encode_varint(math.prod(shape) * spec.dtype.itemsize))
        tags[0] = described.SerializeToString() + tags[0]
        return cls(before.SerializeToString(), tuple(tags))

    def encode(self, id_field: bytes, outputs: Iterable[Array]) -> bytes:
        """Write a response with outputs in the order asked. `id_field` holds the fields that differ, tags included."""
        if len(self.before_outputs) == 1:
            (array,) = outputs
            if array.nbytes <= LARGE:
                return self.before_id + id_field + self.before_outputs[0] + array.tobytes()
            return b"".join((self.before_id, id_field, self.before_outputs[0], _bytes_of(array)))
        pieces: list[bytes | memoryview] = [self.before_id, id_field]
        for before, array in zip(self.before_outputs, outputs, strict=True):
            pieces += before, _bytes_of(array)
        return b"".join(pieces)


def _bytes_of(array: Array) -> bytes | memoryview:
    """Return an array's bytes: a copy if they are few, which is faster, or else a view, which saves memory."""
    return array.data if array.nbytes > LARGE and array.flags.c_contiguous else array.tobytes()


def encode_response(model: "Model", request: CheckedRequest, outputs: Mapping[str, Array]) -> bytes:
    """Write the response to a request. Outputs are raw even if the request's inputs were typed, as in Triton."""
    said: pb.ModelInferResponse | None = None
    if request.keeper is not None:
        said = request.keeper(outputs)
        outputs = {name: outputs[name] for name in request.answered}
    if request.classes:
        return _encode_with_classes(model, request, request.classes, outputs, said)
    id_ = request.id.encode()
    id_field = _ID + encode_varint(len(id_)) + id_ if id_ else b""
    head = ResponseHead.of(model, request.batch, request.sizes, request.answered)
    return head.encode(id_field if said is None else id_field + said.SerializeToString(), outputs.values())


def _encode_with_classes(
    model: "Model",
    request: CheckedRequest,
    classes: Mapping[str, int],
    outputs: Mapping[str, Array],
    said: pb.ModelInferResponse | None,
) -> bytes:
    response = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
    if said is not None:
        response.MergeFrom(said)
    for name, array in outputs.items():
        spec = model.signature.outputs[name]
        if name not in classes:
            response.outputs.add(name=name, datatype=spec.datatype, shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
            continue
        labels = model.manifest.labels
        has_labels = len(labels) == spec.sizes[-1] and not spec.continues_as
        shape, elements = rank_classes(array, classes[name], labels if has_labels else ())
        response.outputs.add(name=name, datatype="BYTES", shape=shape)
        response.raw_output_contents.append(elements)
    return response.SerializeToString()


def rank_classes(values: Array, count: int, labels: Sequence[str]) -> tuple[tuple[int, ...], bytes]:
    """Rank classes along the last axis as Triton's extension writes them: "value:index" with ":label", highest first.

    `values` are (…, classes), of a numeric dtype. Returns the shape (…, count), and the elements as the protocol's
    BYTES: each is a size, uint32 and little-endian, and as many bytes. Of equal values, the lowest index comes first.
    """
    classes = values.shape[-1]
    rows = values.reshape(-1, classes)
    # numpy sorts upwards only, so mirror the rows, sort them stably, and mirror the result.
    order = classes - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    pieces: list[bytes] = []
    is_float = values.dtype.kind == "f"
    for index, value in zip(order.ravel().tolist(), np.take_along_axis(rows, order, 1).ravel().tolist(), strict=True):
        text = f"{value:f}:{index}" if is_float else f"{value}:{index}"  # std::to_string writes six decimals
        if labels:
            text += f":{labels[index]}"
        element = text.encode()
        pieces += struct.pack("<I", len(element)), element
    return (*values.shape[:-1], count), b"".join(pieces)


def encode_stream_response(response: bytes) -> bytes:
    """Put a ModelInferResponse, the only one to its request, into a ModelStreamInferResponse."""
    return _INFER_RESPONSE + encode_varint(len(response) + len(_FINAL_MARK)) + response + _FINAL_MARK


def encode_stream_error(error: ServeError, id_field: bytes) -> bytes:
    """Write a ModelStreamInferResponse with an error's message and status, and the request's id field if any."""
    message = str(error).encode()
    refused = pb.ModelInferResponse(parameters={STATUS: pb.InferParameter(string_param=error.status)})
    inner = encode_stream_response(id_field + refused.SerializeToString())
    return _ERROR_MESSAGE + encode_varint(len(message)) + message + inner


def errors_end_stream(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether a stream's metadata ask to end it at the first error."""
    return (ERRORS_AS_STATUSES, "true") in metadata


def trailing_metadata(error: ServeError, request_id: str = "") -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of a refused call: the error's details, and the request's id as in logs.

    The details are a google.rpc.Status with a BadRequest that names the wrong field (AIP-193). Libraries expect the
    whole message. A long message isn't repeated as the field's description, and a still longer message has no details.
    """
    metadata: list[tuple[str, str | bytes]] = []
    message = str(error)
    for description in (message, "") if error.field else ():
        status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=message)
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=description)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        details = status.SerializeToString()
        if len(details) <= _MAX_BYTES:
            metadata.append((STATUS_DETAILS, details))
            break
    if request_id:
        metadata.append((REQUEST_ID, request_id))
    return tuple(metadata)


@functools.lru_cache(maxsize=1024)  # responses have few sizes. 45 ns instead of 210 per streamed response
def encode_varint(number: int) -> bytes:
    """Write a number as protobuf does: seven bits a byte, lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
