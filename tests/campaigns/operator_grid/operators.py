"""The entries of the grid."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

KERNELS = {
    "Sigmoid": (7e-8, "a rational approximation, whose error is absolute: of a gate nothing shows"),
    "Erf": (7e-8, "a rational approximation, whose error is absolute"),
}
"""The exceptions from the rule of `trial`: by kernel, the distance that is allowed, and why."""


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator, called like in a module.

    Attributes:
        name: The operator as users write it.
        compute: The function of the family's inputs to export.
        refused: Text in the refusal; empty if the operator is exported.
        differs: The values for which onnxruntime's result differs from eager's, in words for the documentation; empty
        if there are none. terms: For a result that is a sum with cancellation: the sum of the magnitudes of its terms,
        which rounding is relative to. None if rounding is relative to the result itself. kernel: Name of an entry in
        `KERNELS`, if a kernel of onnxruntime is not accurate to the last digits.
    """

    name: str
    compute: Callable[..., Any]
    refused: str = ""
    differs: str = ""
    terms: Callable[..., torch.Tensor] | None = None
    kernel: str = ""


@dataclasses.dataclass(frozen=True)
class Family:
    """Operators on the same inputs.

    Attributes:
        name: The heading in the documentation.
        inputs: Tensors (batch, …).
        operators: The operators.
        axis: The dynamic axis of the inputs.
        tries_nothing: Whether to try them also with size 0 along that axis.
    """

    name: str
    inputs: Sequence[torch.Tensor]
    operators: Sequence[Operator]
    axis: int = 0
    tries_nothing: bool = True


def named(module: Any, names: str, **attributes: Any) -> list[Operator]:
    """Make an entry for each name, for functions that take the family's inputs unchanged."""
    return [Operator(name, getattr(module, name), **attributes) for name in names.split()]


def methods(names: str, *given: Any, **attributes: Any) -> list[Operator]:
    """Make an entry for each name, for methods of the family's first input, with some arguments."""
    shown = ", ".join(map(str, given))
    return [
        Operator(f"{name}({shown})", lambda x, *_, name=name: getattr(x, name)(*given), **attributes)
        for name in names.split()
    ]
