"""From the outputs of a run to the bytes of a ModelInferResponse. The bytes are the same on every transport.

Responses are concatenated from a head, which depends only on the model, the sizes and the outputs
asked for, and the outputs' bytes; the fast path keeps the head of each request prefix.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Self

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import ERRORS_AS_STATUSES, FINAL_RESPONSE, STATUS
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.connections.byte_budget import LARGE
from rnnserve.server.errors import ServeError
from rnnserve.server.protocol.class_ranking import rank_classes
from rnnserve.server.repository.model import Model

__all__ = [
    "ResponseHead",
    "encode_response",
    "encode_stream_error",
    "encode_stream_response",
    "encode_varint",
    "errors_end_stream",
]

# Tags of length-delimited fields of ModelInferResponse, and of ModelStreamInferResponse: number << 3 | 2.
_ID, _RAW_OUTPUT = b"\x1a", b"\x32"
_ERROR_MESSAGE, _INFER_RESPONSE = b"\x0a", b"\x12"

_FINAL_MARK = pb.ModelInferResponse(parameters={FINAL_RESPONSE: pb.InferParameter(bool_param=True)}).SerializeToString()
"""The field of a response that says that it is the last one to its request: on streams Triton's have it, too."""


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response with raw outputs, without its id and the outputs' bytes.

    Attributes:
        before_id: What precedes the id's field.
        before_outputs: For each output, what precedes its bytes; the first one follows the id's field and describes
            all of the outputs.
    """

    before_id: bytes
    before_outputs: tuple[bytes, ...]

    @classmethod
    def of(cls, model: Model, batch: int, sizes: Mapping[str, int], outputs: Iterable[str]) -> Self:
        """Build the head of the responses to requests of these sizes for these outputs.

        Args:
            model: The model that runs them.
            batch: Number of their rows.
            sizes: Sizes of their sequence axes.
            outputs: Names of the outputs asked for.
        """
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
        """Write a response.

        Args:
            id_field: The id's field, tag and size included, or other fields that differ between responses; or nothing.
            outputs: Outputs in the order asked, each of the request's own shape.
        """
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
    """An array's bytes: of few a copy takes less time than a view, of many it would take as much memory again."""
    return array.data if array.nbytes > LARGE and array.flags.c_contiguous else array.tobytes()


def encode_response(model: Model, request: CheckedRequest, outputs: Mapping[str, Array]) -> bytes:
    """Write the response to a request. Its outputs are raw, also where the request's inputs were typed, as in Triton.

    Args:
        model: The model that ran it.
        request: The request.
        outputs: Arrays by name, in the order of the request's `outputs`, each of the request's own shape.
    """
    said: pb.ModelInferResponse | None = None
    if request.keep_states is not None:
        said = _parameters_of(request.keep_states(outputs))
        outputs = {name: outputs[name] for name in request.answered}
    if request.classes:
        return _encode_with_classes(model, request, request.classes, outputs, said)
    id_ = request.id.encode()
    id_field = _ID + encode_varint(len(id_)) + id_ if id_ else b""
    head = ResponseHead.of(model, request.batch, request.sizes, request.answered)
    return head.encode(id_field if said is None else id_field + said.SerializeToString(), outputs.values())


def _encode_with_classes(
    model: Model,
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


def encode_stream_response(response: bytes) -> bytes:
    """Put a ModelInferResponse, the only one to its request, into a ModelStreamInferResponse."""
    return _INFER_RESPONSE + encode_varint(len(response) + len(_FINAL_MARK)) + response + _FINAL_MARK


def encode_stream_error(error: ServeError, id_field: bytes) -> bytes:
    """Write a ModelStreamInferResponse that tells an error: its message, and its status as a parameter.

    Args:
        error: The error.
        id_field: The request's id, tag and size included, which is the same field of the response; empty for none.
    """
    message = str(error).encode()
    refused = pb.ModelInferResponse(parameters={STATUS: pb.InferParameter(string_param=error.status)})
    inner = encode_stream_response(id_field + refused.SerializeToString())
    return _ERROR_MESSAGE + encode_varint(len(message)) + message + inner


def errors_end_stream(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether a stream's metadata ask that the first error end it."""
    return (ERRORS_AS_STATUSES, "true") in metadata


def _parameters_of(values: Mapping[str, str | int]) -> pb.ModelInferResponse:
    """A response with these parameters only: their field follows the id's."""
    response = pb.ModelInferResponse()
    for name, value in values.items():
        if isinstance(value, str):
            response.parameters[name].string_param = value
        else:
            response.parameters[name].int64_param = value
    return response


@functools.lru_cache(maxsize=1024)  # responses have few sizes: 45 ns instead of 210, once a response on a stream
def encode_varint(number: int) -> bytes:
    """Write a number as protobuf does: seven bits a byte, lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
