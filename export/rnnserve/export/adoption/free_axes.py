"""Axes of outputs that a file leaves open: one of one size for short inputs may have a step for many of theirs."""

from collections.abc import Mapping, Sequence

import onnx

from rnnserve.export.adoption.roles import Roles
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["FAR", "FARTHER", "FreeAxes", "free_axes", "longer_sizes", "seem_fixed"]

FAR, FARTHER = 1025, 4096
"""Sizes up to which files are tried: the latter where frames of sound may have hundreds of samples."""

FreeAxes = Mapping[str, Sequence[bool]]


def free_axes(model: onnx.ModelProto) -> dict[str, list[bool]]:
    """Say of each axis of the outputs, by output, whether the file leaves its size open."""
    return {
        value.name: [not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }


def seem_fixed(outputs: Sequence[manifest_pb2.Tensor], free: FreeAxes) -> bool:
    """Whether an axis that the file leaves open was of one size wherever it was tried.

    Args:
        outputs: Outputs, described by trial; one may have a batch before the axes of the file.
        free: Result of `free_axes`.
    """
    return any(
        is_free and axis.size != DYNAMIC
        for tensor in outputs
        for axis, is_free in zip(reversed(tensor.axes), reversed(free[tensor.name]), strict=False)
    )


def longer_sizes(sizes: Mapping[str, tuple[int, int]], roles: Roles, far: int) -> dict[str, tuple[int, int]]:
    """Give larger sizes to try, of axes of which the user does not say them.

    Args:
        sizes: The smallest and the largest size of each axis, as they were tried.
        roles: Roles that the user gives.
        far: The largest size to try.
    """
    return {
        axis: (low, high if axis == BATCH or axis in roles.sizes else max(high, far))
        for axis, (low, high) in sizes.items()
    }
