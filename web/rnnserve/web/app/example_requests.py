"""An inference request that a model takes, from its metadata: for the document, and for who tries it."""

import json
import math
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import BATCH
from rnnserve.web.rest.json_tensors import BINARY_ONLY

__all__ = ["example_request"]

_STEPS = 4
_MOST_ELEMENTS = 4096


def example_request(metadata: pb.ModelMetadataResponse) -> dict[str, Any] | None:
    """Make a request with one row of a few steps; None where there is none in JSON that is short.

    Args:
        metadata: Metadata of the model: an axis of any size is the batch, or has steps within their limits.
    """
    inputs = []
    for tensor in metadata.inputs:
        if tensor.parameters["optional"].bool_param:
            continue
        shape = _shape_of(tensor)
        if tensor.datatype in BINARY_ONLY or math.prod(shape) > _MOST_ELEMENTS:
            return None
        data = [_element(tensor, shape, index) for index in range(math.prod(shape))]
        inputs.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data})
    return {"inputs": inputs}


def _shape_of(tensor: pb.ModelMetadataResponse.TensorMetadata) -> list[int]:
    limits = json.loads(tensor.parameters["limits"].string_param or "{}")
    sizes = []
    for size, axis in zip(tensor.shape, tensor.parameters["axes"].string_param.split(", "), strict=True):
        least, most = limits.get(axis, (1, None))
        wanted = size if size >= 0 else 1 if axis == BATCH else _STEPS
        sizes.append(max(wanted, least) if most is None else min(max(wanted, least), most))
    return sizes


def _element(tensor: pb.ModelMetadataResponse.TensorMetadata, shape: list[int], index: int) -> float | int | bool:
    """A value that the input takes: a length is all of the steps, a number lies within the bounds."""
    if tensor.parameters["lengths_of"].string_param:
        return _STEPS
    if tensor.datatype == "BOOL":
        return index % 2 == 0
    if tensor.datatype.startswith("FP"):
        return round(math.sin(index + 1), 3)
    low = tensor.parameters["low"].int64_param
    high = tensor.parameters["high"].int64_param if "high" in tensor.parameters else low + len(shape) + 1
    return low + index % max(high - low, 1)
