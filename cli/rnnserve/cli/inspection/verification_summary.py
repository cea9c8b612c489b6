"""The largest distances of a parity record, over all lengths."""

import dataclasses

from rnnserve.protos import manifest_pb2

__all__ = ["LargestDistance", "largest_distances"]


@dataclasses.dataclass(frozen=True)
class LargestDistance:
    """How far apart one tensor's values were at most, for one kind of inputs, in the tensor's own unit.

    Attributes:
        inputs: "step", "sample" or "random".
        tensor: The tensor's name.
        onnx_from_eager: ONNX's values from eager's.
        onnx_from_exact: ONNX's from those in float64.
        eager_from_exact: Eager's from those in float64.
    """

    inputs: str
    tensor: str
    onnx_from_eager: float
    onnx_from_exact: float
    eager_from_exact: float


def largest_distances(parity: manifest_pb2.Parity) -> list[LargestDistance]:
    """Summarise a parity record, a row for each kind of inputs and tensor, in the record's order."""
    keys = dict.fromkeys((row.input, row.tensor) for row in parity.distances)
    summary = []
    for inputs, tensor in keys:
        rows = [row for row in parity.distances if (row.input, row.tensor) == (inputs, tensor)]
        summary.append(
            LargestDistance(
                inputs,
                tensor,
                max(row.onnx_from_eager_max for row in rows),
                max(row.onnx_from_float64_max for row in rows),
                max(row.eager_from_float64_max for row in rows),
            )
        )
    return summary
