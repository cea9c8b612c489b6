"""The whole numbers that a graph names: what a module compares ids with is among them."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["named_integers"]

_MOST_VALUES = 8
"""Values of a tensor that is looked at: larger ones are tables, and no numbers that somebody has written."""


def named_integers(model: bytes) -> list[int]:
    """Give the whole numbers among the small constants of a graph and its loops, in order.

    Args:
        model: The bytes of an ONNX file.
    """
    found: set[int] = set()
    for tensor in _constants(onnx.load_model_from_string(model).graph):
        if int(np.prod(tensor.dims)) <= _MOST_VALUES and tensor.data_type in (
            onnx.TensorProto.INT64,
            onnx.TensorProto.INT32,
        ):
            found.update(numpy_helper.to_array(tensor).reshape(-1).tolist())
    return sorted(found)


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _constants(attribute.g)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
