"""model.onnx of a described model: exported with every input, and finished by three passes of its own.

No run shows what a module does at sizes that nobody tried: `y[:, -127:]` has as many steps as its input until there are
128. The captured program has an expression for each size of an output. It settles which axes are fixed, which are as
large as an axis of the inputs, and by which rule the others follow; what depends on values has none, and stays as the
runs of the description have shown it.
"""

from collections.abc import Mapping
from typing import cast

import numpy as np
import onnx
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.description.described_outputs import OTHER_SIZES, check_sizes, described_axis, fit_size, is_sure
from rnnserve.export.description.forward_trials import Trial
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.onnx_files import save_proto
from rnnserve.export.recurrence.dynamic_axes import expression_of, inputs_of, outputs_of, sizes_by
from rnnserve.export.recurrence.export import export_onnx, run_pass
from rnnserve.export.recurrent_guard import guard_recurrences
from rnnserve.export.tensors import draw_sample
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH

__all__ = ["to_onnx"]

_FITTED = 1 << 13
"""Sizes in a row to which a rule is fitted; it has to be right for those beyond, too."""


def _settle_sizes(model: DescribedModel, program: torch.export.ExportedProgram) -> None:
    """Correct the axes of a model's outputs, in place, and run the module at many sizes if they follow from a rule.

    UnsupportedModule says that a size follows no rule that a server has, or that the module does not keep to it.
    """
    symbols: dict[sympy.Symbol, str] = {}
    for tensor, value in zip(model.inputs, inputs_of(program), strict=True):
        for axis, size in zip(tensor.axes, value.shape, strict=True):
            if axis.size == DYNAMIC and isinstance(expression := expression_of(size), sympy.Symbol):
                symbols.setdefault(expression, axis.name)
    for tensor, value in zip(model.outputs, outputs_of(program), strict=True):
        before, settled = {axis.name: axis for axis in tensor.derived_axes}, {}
        for at, size in enumerate(value.shape):
            axis = tensor.axes[at]
            derived = _settle(model, tensor, at, expression_of(size), symbols, before.get(axis.name))
            if derived is not None:
                settled[derived.name] = derived
        del tensor.derived_axes[:]
        tensor.derived_axes.extend(settled.values())
    if any(tensor.derived_axes for tensor in model.outputs):
        with evaluating(model.module):
            check_sizes(Trial(model.module.run, model.inputs, model.sizes), model.outputs, model.longest)


def _settle(
    model: DescribedModel,
    tensor: manifest_pb2.Tensor,
    at: int,
    expression: sympy.Expr,
    symbols: Mapping[sympy.Symbol, str],
    before: manifest_pb2.DerivedAxis | None,
) -> manifest_pb2.DerivedAxis | None:
    """Settle an axis of an output, in place, and give its rule where it has one; `before` is what runs have shown."""
    axis = tensor.axes[at]
    free = sorted(expression.free_symbols, key=str)
    named = expression.xreplace({symbol: sympy.Symbol(name, integer=True) for symbol, name in symbols.items()})
    refusal = UnsupportedModule(
        f'axis {at} of output "{tensor.name}" has the size {named}: neither fixed, nor '
        f"as large as an axis of the inputs, nor a * ((b * size + c) // d) + e of one, between bounds. {OTHER_SIZES}"
    )
    if not free or not symbols.keys() >= set(free):
        if before is not None and not is_sure(before):
            raise refusal
        return before
    low, high = model.size_limits[symbols[free[0]]]
    table = sizes_by(expression, free[0], low, high) if len(free) == 1 else None
    if table is None:
        raise refusal
    sizes, found = table
    if np.array_equal(sizes, found):
        axis.name, axis.size = symbols[free[0]], DYNAMIC
        return None
    if (found == found[0]).all():
        axis.name, axis.size = (axis.name if axis.size != DYNAMIC else f"axis {at}"), int(found[0])
        return None
    rule = fit_size(symbols[free[0]], sizes[:_FITTED], found[:_FITTED])
    if rule is None or rule.of == BATCH or not np.array_equal(rule.sizes(sizes), found):
        raise refusal
    derived = described_axis(rule, means=manifest_pb2.MEANS_PROVEN)
    if before is not None and before.name != str(DerivedSize.of_axis(before)):  # the description names it
        derived.name = before.name
    axis.name, axis.size = derived.name, DYNAMIC
    return derived


def to_onnx(model: DescribedModel) -> bytes:
    """Export a described model with every input, and its dynamic axes named; recurrences that lose NaN are guarded."""
    arguments = model.module.arguments(draw_sample(model.inputs, model.sizes))
    with evaluating(model.module):
        program = export_onnx(
            model.module,
            arguments,
            input_names=[tensor.name for tensor in model.inputs],
            output_names=[tensor.name for tensor in model.outputs],
            dynamic_shapes=_dynamic_shapes(model),
            sizes=model.size_limits,
        )
        _settle_sizes(model, cast(torch.export.ExportedProgram, program.exported_program))
    file = program.model_proto
    run_pass(_name_fixed_axes, model, file)
    run_pass(_name_derived_axes, model, file)
    run_pass(_guard_recurrences, model, file)
    return save_proto(file)


def _dynamic_shapes(model: DescribedModel) -> tuple[Mapping[int, str], ...]:
    """Name the dynamic axes of each input, but those that have one size only."""
    fixed = _of_one_size(model)
    return tuple(
        {at: axis.name for at, axis in enumerate(tensor.axes) if axis.size == DYNAMIC and axis.name not in fixed}
        for tensor in model.inputs
    )


def _of_one_size(model: DescribedModel) -> set[str]:
    return {axis for axis, (low, high) in model.size_limits.items() if low == high}


def _name_fixed_axes(model: DescribedModel, file: onnx.ModelProto) -> None:
    """Name axes of inputs that have one size only: captured so, since forward may depend on it.

    Requests have the axis, and servers hold its size against the limits.
    """
    fixed = _of_one_size(model)
    for value, tensor in zip(file.graph.input, model.inputs, strict=True):
        for dim, axis in zip(value.type.tensor_type.shape.dim, tensor.axes, strict=True):
            if axis.name in fixed and axis.size == DYNAMIC:
                dim.dim_param = axis.name


def _name_derived_axes(model: DescribedModel, file: onnx.ModelProto) -> None:
    """Name axes of outputs whose sizes follow from others: the exporter names them by their formulas."""
    for value, tensor in zip(file.graph.output, model.outputs, strict=True):
        derived = [axis.name for axis in tensor.derived_axes]
        for dim, axis in zip(value.type.tensor_type.shape.dim, tensor.axes, strict=False):
            if axis.name in derived:
                dim.dim_param = axis.name


def _guard_recurrences(model: DescribedModel, file: onnx.ModelProto) -> None:
    data = save_proto(file)
    guarded = guard_recurrences(data, finite_inputs=not model.allow_non_finite, infinite=model.infinite_inputs)
    file.ParseFromString(guarded)
