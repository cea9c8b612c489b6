"""Export a described model to model.onnx with every input, then apply three more passes.

Running a module shows nothing about sizes that weren't tried: `y[:, -127:]` has as many steps as its input, up to 127.
The captured program has an expression for the size of each output axis. From this expression the export decides whether
the axis is fixed, has the size of an input axis, or follows another rule. An axis whose size depends on values has no
such expression, and keeps the result of the description's trial runs.
"""

from collections.abc import Mapping
from typing import cast

import numpy as np
import onnx
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.description.described_outputs import (
    OTHER_SIZES,
    check_sizes,
    described_axis,
    fit_size,
    open_axes,
    put_rules,
)
from rnnserve.export.description.forward_trials import Trial
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.onnx_files import save_proto
from rnnserve.export.recurrence.dynamic_axes import expression_of, inputs_of, outputs_of, sizes_by
from rnnserve.export.recurrence.export import export_onnx, run_pass
from rnnserve.export.recurrent_guard import guard_recurrences
from rnnserve.export.tensors import draw_sample
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["to_onnx"]

_GROWN = (
    'It is as large as "{}" and "{}" together, like a cache that grows with each request. Give it a fixed size, for '
    "example its last steps, or publish a module around this one that does not return it"
)

_FITTED = 1 << 13
"""Number of consecutive sizes to fit a rule to. The rule must also hold for all larger sizes."""


def _settle_sizes(model: DescribedModel, program: torch.export.ExportedProgram) -> None:
    """Correct the axes of a model's outputs, in place.

    If a size follows a rule, the module runs at many sizes to check the rule. Raises UnsupportedModule if servers can't
    express a size as a rule, or if the module's results break the rule.
    """
    symbols: dict[sympy.Symbol, str] = {}
    for tensor, value in zip(model.inputs, inputs_of(program), strict=True):
        for axis, size in zip(tensor.axes, value.shape, strict=True):
            if axis.size == DYNAMIC and isinstance(expression := expression_of(size), sympy.Symbol):
                symbols.setdefault(expression, axis.name)
    for tensor, value in zip(model.outputs, outputs_of(program), strict=True):
        found = {at: _settle(model, tensor, at, expression_of(size), symbols) for at, size in enumerate(value.shape)}
        put_rules(tensor, {at: rule for at, rule in found.items() if rule is not None})
    if any(tensor.derived_axes for tensor in model.outputs):
        with evaluating(model.module):
            check_sizes(Trial(model.module.run, model.inputs, model.sizes), model.outputs, model.longest)


def _settle(
    model: DescribedModel,
    tensor: manifest_pb2.Tensor,
    at: int,
    expression: sympy.Expr,
    symbols: Mapping[sympy.Symbol, str],
) -> manifest_pb2.DerivedAxis | None:
    """Correct an output axis in place if it is fixed or as large as an input axis. Otherwise return its rule."""
    axis = tensor.axes[at]
    free = sorted(expression.free_symbols, key=str)
    shown = expression.xreplace({symbol: sympy.Symbol(name, integer=True) for symbol, name in symbols.items()})
    refusal = UnsupportedModule(
        f'axis {at} of output "{tensor.name}" has the size {shown}. Expected a fixed size, the size of an input '
        "axis, or a * ((b * size + c) // d) + e of an input axis, between bounds. "
        + (_GROWN.format(*map(symbols.get, free)) if expression == sum(free) and len(free) == 2 else OTHER_SIZES)
    )
    if not free or not symbols.keys() >= set(free):  # the size depends on values
        if at in open_axes(tensor):
            raise refusal
        return None
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
    return described_axis(rule, means=manifest_pb2.MEANS_PROVEN)


def to_onnx(model: DescribedModel) -> bytes:
    """Export a described model with every input. Names its dynamic axes, and guards recurrences that lose NaN."""
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
    """Name the dynamic axes of each input, except axes with only one possible size."""
    fixed = _of_one_size(model)
    return tuple(
        {at: axis.name for at, axis in enumerate(tensor.axes) if axis.size == DYNAMIC and axis.name not in fixed}
        for tensor in model.inputs
    )


def _of_one_size(model: DescribedModel) -> set[str]:
    return {axis for axis, (low, high) in model.size_limits.items() if low == high}


def _name_fixed_axes(model: DescribedModel, file: onnx.ModelProto) -> None:
    """Name input axes with only one possible size. They were captured as fixed, because forward may depend on the size.

    Requests contain the axis, and servers check its size against the limits.
    """
    fixed = _of_one_size(model)
    for value, tensor in zip(file.graph.input, model.inputs, strict=True):
        for dim, axis in zip(value.type.tensor_type.shape.dim, tensor.axes, strict=True):
            if axis.name in fixed and axis.size == DYNAMIC:
                dim.dim_param = axis.name


def _name_derived_axes(model: DescribedModel, file: onnx.ModelProto) -> None:
    """Name output axes whose sizes follow from other axes, because the exporter uses their formulas as names."""
    for value, tensor in zip(file.graph.output, model.outputs, strict=True):
        derived = [axis.name for axis in tensor.derived_axes]
        for dim, axis in zip(value.type.tensor_type.shape.dim, tensor.axes, strict=False):
            if axis.name in derived:
                dim.dim_param = axis.name


def _guard_recurrences(model: DescribedModel, file: onnx.ModelProto) -> None:
    data = save_proto(file)
    guarded = guard_recurrences(data, finite_inputs=not model.allow_non_finite, infinite=model.infinite_inputs)
    file.ParseFromString(guarded)
