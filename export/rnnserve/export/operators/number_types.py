"""Giving the numbers beside a tensor of floats one type: torch.onnx finds no form of clamp(1e-6, 1), float and int."""

import torch

__all__ = ["unify_numbers"]

_ATEN = torch.ops.aten
_OF_BOUNDS = frozenset(
    {
        *(_ATEN.clamp.default, _ATEN.clamp_min.default, _ATEN.clamp_max.default, _ATEN.clip.default),
        *(_ATEN.clamp_.default, _ATEN.clamp_min_.default, _ATEN.clamp_max_.default, _ATEN.clip_.default),
        *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default, _ATEN.threshold.default, _ATEN.threshold_.default),
        *(_ATEN.where.Scalar, _ATEN.where.ScalarOther, _ATEN.where.ScalarSelf),
    }
)


def unify_numbers(program: torch.export.ExportedProgram) -> None:
    """Make whole numbers among the bounds of floats floats, in place; bounds of integers stay as they are."""
    for node in program.graph.nodes:
        if node.target in _OF_BOUNDS and _is_floating(node):
            node.args = tuple(_as_float(argument) for argument in node.args)
            node.kwargs = {name: _as_float(argument) for name, argument in node.kwargs.items()}


def _is_floating(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _as_float(argument: object) -> object:
    return float(argument) if isinstance(argument, int) and not isinstance(argument, bool) else argument
