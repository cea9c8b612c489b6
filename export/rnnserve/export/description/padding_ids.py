"""Ids of padding in requests: whether a module takes rows of nothing else."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rnnserve.export.description.input_descriptions import InputDescription
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays
from rnnserve.protos import manifest_pb2

__all__ = ["refuse_padding_alone"]


def refuse_padding_alone(
    compute: Callable[[Arrays], Arrays],
    described: Mapping[str, InputDescription],
    inputs: Sequence[manifest_pb2.Tensor],
    sizes: Mapping[str, tuple[int, int]],
) -> None:
    """Take padding ids out of the bounds of inputs, in place, where the module does not run on rows of nothing else.

    A packed sequence of no steps raises, and a mean over none is NaN. Servers refuse ids out of bounds, so that such a
    row never comes; the model itself writes padding after each row's length. An id in the middle of the bounds stays.

    Args:
        compute: The module.
        described: Descriptions of the inputs, by name.
        inputs: Inputs, described as in a manifest.
        sizes: The smallest and the largest size of each dynamic axis.
    """
    for tensor in inputs:
        padding, bounds = described[tensor.name].padding, tensor.integers
        if padding is None or padding not in (bounds.low, bounds.high - 1) or bounds.high - bounds.low < 2:
            continue
        arrays = draw_inputs(inputs, np.random.default_rng(0), {axis: low for axis, (low, _) in sizes.items()})
        arrays[tensor.name] = np.full_like(arrays[tensor.name], padding)
        if _gives_numbers(compute, arrays):
            continue
        if padding == bounds.low:
            bounds.low += 1
        else:
            bounds.high -= 1


def _gives_numbers(compute: Callable[[Arrays], Arrays], arrays: Arrays) -> bool:
    try:
        results = compute(arrays)
    except Exception:  # noqa: BLE001 - whatever the user's module raises
        return False
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in results.values())
