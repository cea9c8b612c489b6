"""Triton's raw binary request: a body that is the bytes of the model's one input, and nothing else.

What the request leaves out is in the model's metadata: the input's name, its datatype, and its shape but for one axis,
whose size follows from the number of bytes. A model's axis "batch" is 1.
"""

import math

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH
from rnnserve.web.errors import RestError, bad_request
from rnnserve.web.rest.json_text import parse_object

__all__ = ["is_json_request", "read_raw_request"]


def is_json_request(body: bytes) -> bool:
    """Whether a body is an inference request in JSON, and so no tensor, whatever its type is said to be."""
    if not body.startswith(b"{"):
        return False
    try:
        return "inputs" in parse_object(body)
    except RestError:
        return False


def read_raw_request(body: bytes, metadata: pb.ModelMetadataResponse, model: str, version: str) -> pb.ModelInferRequest:
    """Read a body, decompressed; the outputs of the answer are binary where their datatypes ask for it only.

    Args:
        body: The bytes of the input, row-major, little-endian.
        metadata: Metadata of the model.
        model: The name in the path.
        version: Version in the path; empty where there is none.

    Raises:
        RestError: If the model has several inputs that must be sent, or the bytes leave its shape open.
    """
    needed = [tensor for tensor in metadata.inputs if not tensor.parameters["optional"].bool_param]
    if len(needed) != 1:
        names = ", ".join(f'"{tensor.name}"' for tensor in needed) or "none that has to be sent"
        raise bad_request(
            f"a raw binary request is the bytes of a model's one input, and {metadata.name} has {names}; send JSON, or "
            "JSON and binary data, with the header Inference-Header-Content-Length"
        )
    tensor = needed[0]
    axes = tensor.parameters["axes"].string_param.split(", ")
    shape = [1 if size < 0 and axis == BATCH else size for size, axis in zip(tensor.shape, axes, strict=True)]
    open_axes = [index for index, size in enumerate(shape) if size < 0]
    known = math.prod(size for size in shape if size >= 0) * DTYPES[tensor.datatype].itemsize
    if len(open_axes) > 1 or (open_axes and (len(body) % known or not body)):
        named = ", ".join(axes)
        raise bad_request(
            f'a raw binary request of {len(body):,} bytes leaves the shape ({named}) of input "{tensor.name}" open: '
            f"one step of it takes {known:,} bytes ({tensor.datatype}), and the batch is 1; send JSON and binary data, "
            "with the header Inference-Header-Content-Length"
        )
    for index in open_axes:
        shape[index] = len(body) // known
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
    request.raw_input_contents.append(body)
    return request
