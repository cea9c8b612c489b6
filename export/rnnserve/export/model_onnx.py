"""model.onnx of a described model: exported with every input, and finished by three passes of its own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

import onnx
import torch

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.input_drawing import draw_sample
from rnnserve.export.onnx_files import save_proto
from rnnserve.export.output_sizes import settle_sizes
from rnnserve.export.recurrence import export_onnx
from rnnserve.export.recurrence.passes import GraphPass
from rnnserve.export.recurrent_guard import guard_recurrences

__all__ = ["ON_FILE", "Exported", "to_onnx"]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A described model, and the file that was exported.

    Attributes:
        model: The model.
        file: The file, which passes change.
    """

    model: DescribedModel
    file: onnx.ModelProto


def to_onnx(model: DescribedModel) -> bytes:
    """Export a described model with every input, and its dynamic axes named; recurrences that lose NaN are guarded.

    Raises:
        ExportError: If it cannot be exported.
    """
    arguments = model.interface.arguments(draw_sample(model.inputs, model.sizes))
    with evaluating(model.module):
        program = export_onnx(
            model.module,
            arguments,
            input_names=[tensor.name for tensor in model.inputs],
            output_names=[tensor.name for tensor in model.outputs],
            dynamic_shapes=_dynamic_shapes(model),
            sizes=model.size_limits,
        )
        settle_sizes(model, cast(torch.export.ExportedProgram, program.exported_program))
    exported = Exported(model, program.model_proto)
    for on_file in ON_FILE:
        on_file(exported)
    return save_proto(exported.file)


def _dynamic_shapes(model: DescribedModel) -> tuple[Mapping[int, str], ...]:
    """Name the dynamic axes of each input, but those that have one size only."""
    fixed = _of_one_size(model)
    return tuple(
        {at: axis.name for at, axis in enumerate(tensor.axes) if axis.size == DYNAMIC and axis.name not in fixed}
        for tensor in model.inputs
    )


def _of_one_size(model: DescribedModel) -> set[str]:
    return {axis for axis, (low, high) in model.size_limits.items() if low == high}


def _name_fixed_axes(exported: Exported) -> None:
    """Name axes of inputs that have one size only: captured so, since forward may depend on it.

    Requests have the axis, and servers hold its size against the limits.
    """
    fixed = _of_one_size(exported.model)
    for value, tensor in zip(exported.file.graph.input, exported.model.inputs, strict=True):
        for dim, axis in zip(value.type.tensor_type.shape.dim, tensor.axes, strict=True):
            if axis.name in fixed and axis.size == DYNAMIC:
                dim.dim_param = axis.name


def _name_derived_axes(exported: Exported) -> None:
    """Name axes of outputs whose sizes follow from others: the exporter names them by their formulas."""
    for value, tensor in zip(exported.file.graph.output, exported.model.outputs, strict=True):
        derived = [axis.name for axis in tensor.derived_axes]
        for dim, axis in zip(value.type.tensor_type.shape.dim, tensor.axes, strict=False):
            if axis.name in derived:
                dim.dim_param = axis.name


def _guard_recurrences(exported: Exported) -> None:
    data = save_proto(exported.file)
    model = exported.model
    guarded = guard_recurrences(data, finite_inputs=not model.allow_non_finite, infinite=model.infinite_inputs)
    exported.file.ParseFromString(guarded)


ON_FILE: Sequence[GraphPass[Exported]] = (
    GraphPass("name_fixed_axes", "Axes of inputs that have one size only are named, too.", _name_fixed_axes),
    GraphPass("name_derived_axes", "Axes of outputs have the names of the description.", _name_derived_axes),
    GraphPass(
        "guard_recurrences",
        "Recurrent operators give NaN where eager does, if a NaN can reach them.",
        _guard_recurrences,
    ),
)
"""Passes on the exported file, in the order in which they run."""
