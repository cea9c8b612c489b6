"""The sizes of a module's outputs, as the captured program computes them for all sizes of its inputs.

The description finds the axes of outputs by a few runs, and no run shows what a module does at sizes that nobody tried:
`y[:, -127:]` has as many steps as its input until there are 128. The program has an expression for each size. It
settles which axes are fixed, which are as large as an axis of the inputs, and by which rule the others follow; what
depends on values has none, and stays as the runs have shown it.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

from rnnserve.export.description.derived_axes import described_axis, fit_size, is_sure
from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.description.described_outputs import OTHER_SIZES, check_sizes
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.size_expressions import expression_of, sizes_by
from rnnserve.export.recurrence.size_probing import inputs_of, outputs_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH

__all__ = ["settle_sizes"]

_FITTED = 1 << 13
"""Sizes in a row to which a rule is fitted; it has to be right for those beyond, too."""


def settle_sizes(model: DescribedModel, program: torch.export.ExportedProgram) -> None:
    """Correct the axes of a model's outputs, in place, and run the module at many sizes where they follow from a rule.

    Args:
        model: The model, in evaluation mode.
        program: The program that was captured of it.

    Raises:
        UnsupportedModule: If a size follows no rule that a server has, or the module does not keep to it.
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
        run = partial(model.interface.call, model.module)
        with evaluating(model.module):
            check_sizes(run, model.inputs, model.outputs, model.sizes, model.longest)


def _settle(
    model: DescribedModel,
    tensor: manifest_pb2.Tensor,
    at: int,
    expression: sympy.Expr,
    symbols: Mapping[sympy.Symbol, str],
    before: manifest_pb2.DerivedAxis | None,
) -> manifest_pb2.DerivedAxis | None:
    """Settle an axis of an output, in place, and give its rule where it has one.

    Args:
        model: The model.
        tensor: The output.
        at: Position of the axis.
        expression: Expression of its size in the program.
        symbols: The symbols of sizes of the inputs, each with the name of its axis.
        before: The rule that runs have shown; None for none.
    """
    axis = tensor.axes[at]
    free = sorted(expression.free_symbols, key=str)
    refusal = UnsupportedModule(
        f'axis {at} of output "{tensor.name}" has the size {expression.xreplace(_named(symbols))}: neither fixed, nor '
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
    if before is not None and before.name != _own_name(before):
        derived.name = before.name
    axis.name, axis.size = derived.name, DYNAMIC
    return derived


def _own_name(axis: manifest_pb2.DerivedAxis) -> str:
    """Give the name that an axis has where the description gives it none."""
    return str(DerivedSize.of_axis(axis))


def _named(symbols: Mapping[sympy.Symbol, str]) -> dict[sympy.Symbol, sympy.Symbol]:
    return {symbol: sympy.Symbol(name, integer=True) for symbol, name in symbols.items()}
