"""From the outputs of a run to the bytes of a ModelInferResponse. The bytes are the same on every transport.

Responses are concatenated from a head, which depends only on the model, the sizes and the outputs
asked for, and the outputs' bytes; the lane keeps the head of each request prefix.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Self

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.protocol.class_ranking import rank_classes
from rnnserve.server.repository.model import Model

__all__ = ["ResponseHead", "encode_response", "encode_varint"]

# Tags of length-delimited fields of ModelInferResponse: number << 3 | 2.
_ID, _RAW_OUTPUT = b"\x1a", b"\x32"


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
        """Build the head of the responses to requests of these sizes for these outputs."""
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
            id_field: The id's field, tag and size included; empty for no id.
            outputs: In the order asked, each of the request's own shape.
        """
        if len(self.before_outputs) == 1:
            (array,) = outputs
            return self.before_id + id_field + self.before_outputs[0] + array.tobytes()
        pieces = [self.before_id, id_field]
        for before, array in zip(self.before_outputs, outputs, strict=True):
            pieces += before, array.tobytes()
        return b"".join(pieces)


def encode_response(model: Model, request: CheckedRequest, outputs: Mapping[str, Array]) -> bytes:
    """Write the response to a request. Its outputs are raw, also where the request's inputs were typed, as in Triton.

    Args:
        model: What ran it.
        request: The request.
        outputs: By name, in the order asked, each of the request's own shape.
    """
    if request.classes:
        return _encode_with_classes(model, request, request.classes, outputs)
    id_ = request.id.encode()
    id_field = _ID + encode_varint(len(id_)) + id_ if id_ else b""
    head = ResponseHead.of(model, request.batch, request.sizes, request.outputs)
    return head.encode(id_field, outputs.values())


def _encode_with_classes(
    model: Model, request: CheckedRequest, classes: Mapping[str, int], outputs: Mapping[str, Array]
) -> bytes:
    response = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
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


def encode_varint(number: int) -> bytes:
    """Write a number as protobuf does: seven bits a byte, lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
