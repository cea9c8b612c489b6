"""From a run's arrays to the bytes of a ModelInferResponse."""

import math
from collections.abc import Mapping

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.boundary import Array, Inference
from rnnserve.server.model import Model
from rnnserve.server.signature import CONTENTS

__all__ = ["encode", "head_of", "varint"]

_RAW_OUTPUT = b"\x32"
"""The tag of raw_output_contents, the response's last field: field 6, length-delimited."""


def encode(request: pb.ModelInferRequest, model: Model, outputs: Mapping[str, Array]) -> bytes:
    """Build the response to a request: the outputs in the order given, raw or typed as the request's inputs were."""
    response = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
    for name, array in outputs.items():
        datatype = model.signature.outputs[name].datatype
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if request.raw_input_contents:
            response.raw_output_contents.append(array.tobytes())
        else:
            getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    return response.SerializeToString()


def head_of(model: Model, inference: Inference) -> tuple[bytes, tuple[bytes, ...]]:
    """Build the response to a request with raw inputs, but for its id and the outputs' bytes.

    Returns:
        What comes before the id's field, and for each output what comes before its bytes: the first begins behind the
        id's field and describes all of them.
    """
    before = pb.ModelInferResponse(model_name=model.name, model_version=model.version)
    outputs = pb.ModelInferResponse()
    tags: list[bytes] = []
    for name in inference.outputs:
        spec = model.signature.outputs[name]
        shape = spec.shape(inference.batch, inference.sequence)
        outputs.outputs.add(name=name, datatype=spec.datatype, shape=shape)
        tags.append(_RAW_OUTPUT + varint(math.prod(shape) * spec.dtype.itemsize))
    tags[0] = outputs.SerializeToString() + tags[0]
    return before.SerializeToString(), tuple(tags)


def varint(number: int) -> bytes:
    """Write a number as protobuf does: seven bits a byte, lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
